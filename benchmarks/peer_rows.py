"""The peer's read models: a process application whose recorder writes the row, the tracking record and nothing else
in one transaction, as the library's examples with SQLite do (its subscriptions do not work on SQLite).

A system runner connects it with the application that it follows. Each has a database of its own, as documented.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast
from uuid import UUID

from eventsourcing.application import ProcessingEvent
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteCursor, SQLiteProcessRecorder
from eventsourcing.system import ProcessApplication, Runner, System

from benchmarks.peer import Order, Shop, environment

PAGE = 100  # notifications pulled at once; the default, 10, is slower
LINE_ADDED = "benchmarks.peer:Order.LineAdded"


class PlainRecorder(SQLiteProcessRecorder):
    """A row for each order: how many lines, how many pieces."""

    upsert = (
        "INSERT INTO order_rows VALUES (?, 1, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "lines = lines + 1, quantity = quantity + excluded.quantity, last = excluded.last"
    )
    tables: ClassVar[tuple[str, ...]] = (
        """CREATE TABLE IF NOT EXISTS order_rows (key TEXT PRIMARY KEY, lines INTEGER, quantity INTEGER, last TEXT)
        WITHOUT ROWID""",
    )

    def construct_create_table_statements(self) -> list[str]:
        return [*super().construct_create_table_statements(), *self.tables]

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        c.execute(self.upsert, kwargs["row"])
        return super()._insert_events(c, stored_events, **kwargs)

    def row(self, key: str) -> Any:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT * FROM order_rows WHERE key = ?", (key,))
            return cursor.fetchone()

    def count(self) -> int:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT count(*) FROM order_rows")
            return int(cursor.fetchone()[0])


class IndexedRecorder(PlainRecorder):
    """A row for each line, with two indexes."""

    upsert = (
        "INSERT INTO order_rows VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "customer = excluded.customer, sku = excluded.sku, quantity = excluded.quantity"
    )
    tables: ClassVar[tuple[str, ...]] = (
        """CREATE TABLE IF NOT EXISTS order_rows (key TEXT PRIMARY KEY, customer TEXT, sku TEXT, quantity INTEGER)
        WITHOUT ROWID""",
        "CREATE INDEX IF NOT EXISTS order_rows_by_customer ON order_rows (customer)",
        "CREATE INDEX IF NOT EXISTS order_rows_by_quantity ON order_rows (quantity)",
    )


class PlainRows(ProcessApplication[UUID]):
    """Folds lines into one row for each order."""

    pull_section_size = PAGE
    topics = (LINE_ADDED,)
    env: ClassVar[dict[str, str]] = {"PROCESS_RECORDER_TOPIC": "benchmarks.peer_rows:PlainRecorder"}

    def policy(self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]) -> None:
        if isinstance(domain_event, Order.LineAdded):
            key = domain_event.originator_id.hex
            processing_event.collect_events(row=(key, domain_event.quantity, domain_event.sku))


class IndexedRows(ProcessApplication[UUID]):
    """Keeps a row for each line."""

    pull_section_size = PAGE
    topics = (LINE_ADDED,)
    env: ClassVar[dict[str, str]] = {"PROCESS_RECORDER_TOPIC": "benchmarks.peer_rows:IndexedRecorder"}

    def policy(self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]) -> None:
        if isinstance(domain_event, Order.LineAdded):
            processing_event.collect_events(
                row=(domain_event.order, domain_event.customer, domain_event.sku, domain_event.quantity)
            )


Rows = type[PlainRows] | type[IndexedRows]


def start(runner: type[Runner[UUID]], rows: Rows, shop: Path, view: Path) -> Runner[UUID]:
    """A running system of the shop and one read model."""
    env = {**environment(shop), f"{rows.name.upper()}_SQLITE_DBNAME": str(view)}
    running = runner(System(pipes=[[Shop, rows]]), env=env)
    running.start()
    return running


def recorder(running: Runner[UUID], rows: Rows) -> PlainRecorder:
    return cast("PlainRecorder", running.get(rows).recorder)
