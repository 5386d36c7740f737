"""The peer's PostgreSQL module in its two modes: plain, and with database functions (new in 9.5)."""

from threading import Event
from typing import Any, cast

from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL, Identifier

from benchmarks.peer import Order, Shop
from benchmarks.postgres.server import Database

PLAIN, FUNCTIONS = "peer eventsourcing", "peer eventsourcing functions"
LINE_ADDED = "benchmarks.peer:Order.LineAdded"


def environment(database: Database, *, functions: bool, pool: int = 5) -> dict[str, str]:
    """`pool` connections are kept open; the default is the library's own."""
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": database.name,
        "POSTGRES_HOST": database.host,
        "POSTGRES_PORT": str(database.port),
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": "unused",
        "POSTGRES_POOL_SIZE": str(pool),
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if functions else "n",
    }


class Totals(PostgresTrackingRecorder):
    """A row for each order, written with the tracking record, as the library's examples of projections do."""

    def __init__(self, datastore: PostgresDatastore, **options: Any) -> None:
        super().__init__(datastore, **options)
        schema, table = Identifier(datastore.schema), Identifier("order_rows")
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS {}.{} (key text PRIMARY KEY, lines bigint, quantity bigint, last text)"
            ).format(schema, table)
        )
        self._upsert = SQL(
            "INSERT INTO {}.{} AS r VALUES (%s, 1, %s, %s) ON CONFLICT (key) DO UPDATE SET lines = r.lines + 1,"
            " quantity = r.quantity + excluded.quantity, last = excluded.last"
        ).format(schema, table)

    def fold(self, event: Order.LineAdded, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(self._upsert, (event.originator_id.hex, event.quantity, event.sku), prepare=True)
            self._insert_tracking(cursor, tracking)


class Rows(Projection[Totals]):
    """Folds lines; `done` is set when it has seen `upto` of them."""

    name = "rows"
    topics = (LINE_ADDED,)

    def __init__(self, view: Totals) -> None:
        super().__init__(view)
        self.seen, self.upto, self.done = 0, 0, Event()

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.fold(cast("Order.LineAdded", domain_event), tracking)
        self.seen += 1
        self.folded()
        if self.seen == self.upto:
            self.done.set()

    def folded(self) -> None:
        """After each commit."""


def start(environment: dict[str, str], rows: type[Rows] = Rows) -> ProjectionRunner[Shop, Totals]:
    """A running projection, which listens to the application's notifications."""
    return ProjectionRunner(application_class=Shop, projection_class=rows, view_class=Totals, env=environment)
