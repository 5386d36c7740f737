"""The raw limit: plain SQLite by apsw, with the durability and columns of Foldlog's events, plain indexes for the same
reads, and the same bytes.

No checks, no conditions, no answers: what is left is what SQLite and the disk take. Bodies and envelopes are encoded
before the clock starts.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import apsw
import msgspec

from benchmarks.ours import added
from benchmarks.sample import ACTOR, CAUSATION, CORRELATION, HEADERS, TRACEPARENT
from foldlog.engines.sqlite.wal import CHECKPOINT_PAGES
from foldlog.model.message import Meta, encode_meta

FILL_EVENTS = 10_000  # in one commit
FILL_RUN = 10  # events of one stream in a row
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    time INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    meta BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS events_by_stream ON events (stream, version);
CREATE INDEX IF NOT EXISTS events_by_kind ON events (kind);
CREATE TABLE IF NOT EXISTS tags (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plain_rows (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS indexed_rows (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    customer TEXT NOT NULL,
    quantity INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS indexed_rows_by_customer ON indexed_rows (customer, key);
CREATE INDEX IF NOT EXISTS indexed_rows_by_quantity ON indexed_rows (quantity, key);
CREATE TABLE IF NOT EXISTS checkpoint (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
"""
INSERT = "INSERT INTO events VALUES (?, ?, ?, 1, ?, '', ?, ?)"
INSERT_TAG = "INSERT INTO tags VALUES ('', ?, ?)"


class Row(NamedTuple):
    """An event ready to be written."""

    stream: int
    meta: bytes
    body: bytes
    tags: tuple[str, ...]


def rows(numbers: Iterable[int], streams: int, *, run: int = 1, tagged: bool = False) -> list[Row]:
    """Events with these numbers over `streams` streams, `run` in a row for each in turn."""
    found = []
    for number in numbers:
        one = added(number)
        tags = (f"customer:{one.customer}", f"sku:{one.sku}") if tagged else ()
        command_id = f"{number:020x}a1b2c3d4e5f6"
        meta = Meta(command_id, 0, CORRELATION, CAUSATION, ACTOR, TRACEPARENT, None, tags, "", HEADERS)
        found.append(Row(number // run % streams, encode_meta(meta), msgspec.json.encode(one), tags))
    return found


class Raw:
    """One connection that writes."""

    def __init__(self, path: Path) -> None:
        self.conn = apsw.Connection(str(path))
        self.run("PRAGMA journal_mode = WAL")
        self.run("PRAGMA synchronous = FULL")
        self.run(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self.conn.execute(SCHEMA)
        self._position = 0
        self._versions: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.conn.close()

    def run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement; its first row, or first value."""
        return self.conn.execute(statement, values).get

    def append(self, group: Iterable[Row]) -> None:
        """Write a group of events in one transaction."""
        events: list[tuple[Any, ...]] = []
        tags: list[tuple[str, int]] = []
        position, versions = self._position, self._versions
        for stream, meta, body, labels in group:
            position += 1
            version = versions[stream] = versions.get(stream, 0) + 1
            events.append((position, stream, version, 1_700_000_000_000_000 + position, meta, body))
            tags.extend([(tag, position) for tag in labels])
        conn = self.conn
        conn.execute("BEGIN IMMEDIATE")
        conn.executemany(INSERT, events)
        if tags:
            conn.executemany(INSERT_TAG, tags)
        conn.execute("COMMIT")
        self._position = position

    def fill(self, events: int, streams: int) -> None:
        """Write `events` events over `streams` streams, a few to each in turn, as the other sides do."""
        for first in range(0, events, FILL_EVENTS):
            self.append(rows(range(first, min(first + FILL_EVENTS, events)), streams, run=FILL_RUN))

    def groups(self, ready: Sequence[Row], size: int) -> None:
        """Write prepared events in transactions of `size`."""
        left = iter(ready)
        while group := list(islice(left, size)):
            self.append(group)
