"""The peer: PyPI `eventsourcing` with its SQLite or PostgreSQL module, used as its documentation shows.

Its SQLite recorder turns WAL on and leaves `synchronous` at SQLite's default, which is FULL: an append is on the disk
when it returns, as with Foldlog. Events are explicit classes (its fastest documented style), the transcoder is the
default one.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.sqlite import SQLiteRecorder

from benchmarks.sample import line

FILL_EVENTS = 10_000  # in one commit
FILL_RUN = 10  # events of one aggregate in a row


class Order(Aggregate):
    """An aggregate that keeps a total, as Foldlog's decider does."""

    def __init__(self) -> None:
        self.total = 0

    class LineAdded(Aggregate.Event):
        order: str
        customer: str
        sku: str
        quantity: int
        note: str

        def apply(self, aggregate: Aggregate) -> None:
            cast("Order", aggregate).total += self.quantity

    def add(self, order: str, customer: str, sku: str, quantity: int, note: str) -> None:
        self.trigger_event(self.LineAdded, order=order, customer=customer, sku=sku, quantity=quantity, note=note)


class Shop(Application[UUID]):
    """The application; all but the size of a page of its log is inherited."""

    log_section_size = 1_000  # the default, 10, is slower to read


def environment(path: str | PathLike[str]) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}


def added(number: int, originator: UUID, version: int) -> Order.LineAdded:
    """An event as `Order.add` would make it."""
    return Order.LineAdded(
        originator_id=originator,
        originator_version=version,
        timestamp=Order.LineAdded.create_timestamp(),
        **line(number)._asdict(),
    )


class Peer:
    """An open application."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.shop = Shop(env=dict(env))
        self.heads: dict[UUID, int] = {}  # versions of the aggregates that were made here

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shop.close()

    def pragma(self, name: str) -> Any:
        """A setting of the connection that it writes with."""
        recorder = cast("SQLiteRecorder", self.shop.recorder)
        with recorder.datastore.transaction(commit=True) as cursor:
            cursor.execute(f"PRAGMA {name}")
            return cursor.fetchone()[0]

    def new_orders(self, count: int) -> list[Order]:
        """Aggregates that are stored with their first event."""
        orders = [Order() for _ in range(count)]
        self.shop.save(*orders)
        self.heads |= {one.id: one.version for one in orders}
        return orders

    def fill(self, events: int, streams: int) -> list[UUID]:
        """Write `events` events over `streams` aggregates, a few to each in turn, as fast as it goes."""
        orders = self.new_orders(streams)
        ids = [one.id for one in orders]
        versions = [1] * streams
        batch: list[Order.LineAdded] = []
        for first in range(0, events, FILL_RUN):
            at = first // FILL_RUN % streams
            for number in range(first, min(first + FILL_RUN, events)):
                versions[at] += 1
                batch.append(added(number, ids[at], versions[at]))
            if len(batch) >= FILL_EVENTS:
                self._write(batch)
                batch = []
        self._write(batch)
        return ids

    def _write(self, batch: Sequence[Order.LineAdded]) -> None:
        self.shop.recorder.insert_events([self.shop.mapper.to_stored_event(one) for one in batch])
