"""The raw limit: the columns and indexes of Foldlog's events, versions checked, by psycopg and prepared statements.

No envelope is made, nothing is decoded, nobody is told: what is left is what PostgreSQL and the disk take.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from types import TracebackType
from typing import Any, Self

import psycopg

from benchmarks.measure import Sample
from benchmarks.ours_work import AT_ONCE, EVENTS_AT_ONCE, STREAMS, rate
from benchmarks.raw import Row, rows

FILL_EVENTS = 10_000  # in one commit
FILL_RUN = 10  # events of one stream in a row
TIME = 1_700_000_000_000_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS heads (stream bigint PRIMARY KEY, version bigint NOT NULL) WITH (fillfactor = 80);
CREATE SEQUENCE IF NOT EXISTS positions AS bigint CACHE 1;
CREATE TABLE IF NOT EXISTS events (
    position bigint PRIMARY KEY,
    stream bigint NOT NULL,
    version bigint NOT NULL,
    kind bigint NOT NULL,
    time bigint NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    meta bytea NOT NULL,
    body bytea NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS events_by_stream ON events (stream, version);
CREATE INDEX IF NOT EXISTS events_by_kind ON events (kind, position);
CREATE TABLE IF NOT EXISTS totals (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoint (name text PRIMARY KEY, position bigint NOT NULL);
"""
ONE = """
WITH h AS (
    INSERT INTO heads AS s VALUES (%b::bigint, %b::bigint + 1)
    ON CONFLICT (stream) DO UPDATE SET version = excluded.version WHERE s.version = excluded.version - 1
    RETURNING stream, version
)
INSERT INTO events SELECT nextval('positions'), stream, version, 1, %b::bigint, '', %b, %b FROM h
"""
# Streams that have moved on stay out, with their events: the number of rows tells.
GROUP = """
WITH h AS (
    INSERT INTO heads AS s SELECT * FROM unnest(%b::bigint[], %b::bigint[])
    ON CONFLICT (stream) DO UPDATE SET version = excluded.version WHERE s.version = excluded.version - %b::bigint
    RETURNING stream
)
INSERT INTO events SELECT nextval('positions'), e.stream, e.version, 1, %b::bigint, '', e.meta, e.body
FROM unnest(%b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[]) AS e (stream, version, meta, body)
JOIN h ON h.stream = e.stream
"""
STREAM = "SELECT * FROM events WHERE stream = %b ORDER BY version"
PAGE = "SELECT position, stream, body FROM events WHERE position > %b ORDER BY position LIMIT %b"


class Bare:
    """One connection, each statement its own transaction."""

    def __init__(self, conninfo: str) -> None:
        self.conn = psycopg.connect(conninfo, autocommit=True, prepare_threshold=0)
        self.conn.execute(SCHEMA, prepare=False)
        self._numbers: Iterator[int] = count()
        self._versions: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.conn.close()

    def one_writer(self, events: int) -> Sample:
        ready = rows(islice(self._numbers, events), STREAMS)

        def work() -> None:
            versions = self._versions
            for stream, meta, body, _ in ready:
                version = versions.get(stream, 0)
                assert self.conn.execute(ONE, (stream, version, TIME, meta, body)).rowcount == 1
                versions[stream] = version + 1

        return rate(events, work)

    def senders(self, events: int) -> Sample:
        """64 events a statement, each of a stream of its own."""
        return self._groups(rows(islice(self._numbers, events), AT_ONCE), AT_ONCE, each=1)

    def hundreds(self, times: int) -> Sample:
        """100 events of one stream a statement."""
        numbers = [one // EVENTS_AT_ONCE for one in islice(self._numbers, times * EVENTS_AT_ONCE)]
        return self._groups(rows(numbers, STREAMS), EVENTS_AT_ONCE, each=EVENTS_AT_ONCE)

    def fill(self, events: int, streams: int) -> None:
        """Write `events` events over `streams` streams, a few to each in turn, by COPY."""
        for first in range(0, events, FILL_EVENTS):
            self.copy(rows(range(first, min(first + FILL_EVENTS, events)), streams, run=FILL_RUN))

    def copy(self, ready: Sequence[Row]) -> None:
        versions = self._versions
        positions = self.conn.execute(
            "SELECT nextval('positions') FROM generate_series(1, %b::bigint)", (len(ready),)
        ).fetchall()
        with self.conn.cursor() as cursor, cursor.copy("COPY events FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int8", "int8", "int8", "int8", "int8", "text", "bytea", "bytea"])
            for (position,), (stream, meta, body, _) in zip(positions, ready, strict=True):
                version = versions[stream] = versions.get(stream, 0) + 1
                copy.write_row((position, stream, version, 1, TIME, "", meta, body))

    def rehydrate(self, streams: int, each: int) -> Sample:
        """Rows fetched, nothing decoded."""

        def work() -> None:
            for stream in range(streams):
                assert len(self.conn.execute(STREAM, (stream,), binary=True).fetchall()) == each

        return rate(streams * each, work)

    def pages(self, size: int, after: int = 0) -> Iterator[list[tuple[Any, ...]]]:
        """Position, stream and body of all events, in order."""
        while page := self.conn.execute(PAGE, (after, size), binary=True).fetchall():
            yield page
            after = page[-1][0]

    def _groups(self, ready: Sequence[Row], size: int, *, each: int) -> Sample:
        """Write prepared events in statements of `size`; each stream in one gets `each`."""

        def work() -> None:
            left = iter(ready)
            while group := list(islice(left, size)):
                self._group(group, each)

        return rate(len(ready), work)

    def _group(self, group: Iterable[Row], each: int) -> None:
        streams, metas, bodies, _ = zip(*group, strict=True)
        versions, mine = self._versions, []
        for stream in streams:
            versions[stream] = versions.get(stream, 0) + 1
            mine.append(versions[stream])
        heads = sorted(set(streams))
        done = self.conn.execute(
            GROUP,
            (
                heads, [versions[stream] for stream in heads], each, TIME,
                list(streams), mine, list(metas), list(bodies),
            ),
        )  # fmt: skip
        assert done.rowcount == len(mine)
