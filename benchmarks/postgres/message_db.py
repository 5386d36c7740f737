"""message-db: its SQL functions, called from psycopg. The SQL comes with the npm package `@eventide/message-db`.

Events carry the same envelope as Foldlog's, as metadata. What is read are its bare rows, not decoded.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import psycopg

from benchmarks.measure import Sample
from benchmarks.ours import added
from benchmarks.ours_work import AT_ONCE, EVENTS_AT_ONCE, STREAMS, rate
from benchmarks.peer_work import in_threads
from benchmarks.postgres.server import Database
from benchmarks.sample import ACTOR, CAUSATION, CORRELATION, HEADERS, TRACEPARENT

WRITE = "SELECT write_message(%s, %s, 'order.line-added', %s, %s, %s)"
STREAM = "SELECT * FROM get_stream_messages(%s, 0, %s)"
CATEGORY = "SELECT * FROM get_category_messages('order', %s, %s)"
COPY = "COPY message_store.messages (position, stream_name, type, data, metadata, id) FROM STDIN (FORMAT text)"
INSTALLED = (
    "schema/message-store.sql", "extensions/pgcrypto.sql", "tables/messages.sql", "types/message.sql",
    "functions/message-store-version.sql", "functions/hash-64.sql", "functions/acquire-lock.sql",
    "functions/category.sql", "functions/is-category.sql", "functions/id.sql", "functions/cardinal-id.sql",
    "functions/stream-version.sql", "functions/write-message.sql", "functions/get-stream-messages.sql",
    "functions/get-category-messages.sql", "functions/get-last-stream-message.sql",
    "indexes/messages-id.sql", "indexes/messages-stream.sql", "indexes/messages-category.sql",
)  # fmt: skip
META = msgspec.json.encode(
    {"correlation": CORRELATION, "causation": CAUSATION, "actor": ACTOR, "traceparent": TRACEPARENT, "headers": HEADERS}
).decode()


class Message(NamedTuple):
    """One call of write_message."""

    id: str
    stream: str
    data: str
    meta: str
    expected: int


class MessageDb:
    """A message store in a database of its own."""

    def __init__(self, database: Database, package: Path) -> None:
        self._conninfo = conninfo(database)
        self._numbers: Iterator[int] = count()
        self._versions: dict[str, int] = {}  # its versions begin at 0; -1 is no event
        folder = package / "node_modules" / "@eventide" / "message-db" / "database"
        self.conn = connect(self._conninfo)
        for file in INSTALLED:
            self.conn.execute((folder / file).read_bytes(), prepare=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.conn.close()

    def one_writer(self, events: int) -> Sample:
        ready = self._messages([f"order-{number % STREAMS}" for number in range(events)])
        return rate(events, lambda: _write(self.conn, ready))

    def senders(self, events: int, connections: int) -> Sample:
        """64 streams, shared by so many connections, each in a thread."""
        streams = [f"order-{number % AT_ONCE}" for number in range(events)]
        ready = self._messages(streams)
        with ExitStack() as stack:
            conns = [stack.enter_context(connect(self._conninfo)) for _ in range(connections)]
            works = [partial(_write, conn, ready[number::connections]) for number, conn in enumerate(conns)]
            return rate(events, lambda: in_threads(works))

    def hundreds(self, times: int) -> Sample:
        """100 calls in a transaction, sent without waiting for each other's answers."""
        groups = [self._messages([f"order-{number % STREAMS}"] * EVENTS_AT_ONCE) for number in range(times)]

        def work() -> None:
            for group in groups:
                with self.conn.pipeline(), self.conn.transaction():
                    _write(self.conn, group)

        return rate(times * EVENTS_AT_ONCE, work)

    def fill(self, events: int, streams: int, run: int = 10) -> None:
        """What write_message would leave behind, by COPY; `run` events of a stream in a row."""
        ready = self._messages([f"order-{number // run % streams}" for number in range(events)])
        with self.conn.cursor() as cursor, cursor.copy(COPY) as copy:
            for one in ready:
                copy.write_row((one.expected + 1, one.stream, "order.line-added", one.data, one.meta, one.id))
        self.conn.execute("ANALYZE message_store.messages")

    def rehydrate(self, streams: int, each: int) -> Sample:
        def work() -> None:
            for number in range(streams):
                assert len(self.conn.execute(STREAM, (f"order-{number}", each)).fetchall()) == each

        return rate(streams * each, work)

    def _messages(self, streams: Sequence[str]) -> list[Message]:
        encode = msgspec.json.Encoder().encode
        ready = []
        for number, stream in zip(islice(self._numbers, len(streams)), streams, strict=True):
            expected = self._versions.get(stream, -1)
            self._versions[stream] = expected + 1
            ready.append(Message(str(uuid.uuid4()), stream, encode(added(number)).decode(), META, expected))
        return ready


def conninfo(database: Database) -> str:
    """Connections find its functions as those of its role do."""
    return f"{database.conninfo} options='-c search_path=message_store,public'"


def connect(conninfo: str) -> psycopg.Connection[tuple[Any, ...]]:
    conn = psycopg.connect(conninfo, autocommit=True, prepare_threshold=0)
    conn.execute("SET client_min_messages = warning", prepare=False)
    return conn


def read_all(conninfo: str, page: int = 10_000) -> int:
    """How many rows its category query finds."""
    with connect(conninfo) as conn:
        found, position = 0, 1
        while rows := conn.execute(CATEGORY, (position, page)).fetchall():
            found += len(rows)
            position = rows[-1][4] + 1
        return found


def _write(conn: psycopg.Connection[tuple[Any, ...]], ready: Sequence[Message]) -> None:
    for one in ready:
        conn.execute(WRITE, one)
