"""Pages of the log. Each is read in one transaction, so that its head belongs to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import apsw

from foldlog import limits
from foldlog.engines.kinds import sides_of
from foldlog.engines.sqlite.kinds import Kinds, Streams
from foldlog.engines.sqlite.matching import (
    array_of,
    has_tag,
    in_list,
    is_everything,
    positions,
    span_of,
)
from foldlog.model.message import KindFactory, Recorded, to_micros
from foldlog.model.query import Query
from foldlog.ports.store import Page

_COLUMNS = "e.position, e.stream, e.version, e.kind, e.time, e.meta, e.body"
_CHUNK = 64  # rows taken before their bytes are counted: what a page of large bodies may hold too much of

RawEvent = tuple[int, int, int, int, int, bytes, bytes]  # as in _COLUMNS


@contextmanager
def snapshot(conn: apsw.Connection) -> Iterator[None]:
    """One state of the database for several statements."""
    conn.execute("BEGIN").get
    try:
        yield
    finally:
        if conn.in_transaction:  # an I/O error may have ended it
            conn.execute("COMMIT").get


def head_of(conn: apsw.Connection) -> int:
    """The last position; 0 when the log is empty. Positions are given in commit order, so it is the safe head."""
    return conn.execute("SELECT max(position) FROM events").get or 0


class Log:
    """Reads the log on any connection; what it keeps is shared by all of them."""

    def __init__(self, kinds: KindFactory, log: str) -> None:
        self._log = log
        self._kinds, self._streams = Kinds(kinds), Streams()

    def read(self, conn: apsw.Connection, query: Query, after: int, limit: int, *, backward: bool) -> Page:
        with snapshot(conn):
            head, newest = conn.execute("SELECT (SELECT max(position) FROM events), (SELECT max(id) FROM kinds)").get
            if head is None:
                return Page([], more=False, head=0)
            self._kinds.refresh(conn, newest)
            if query.stream is not None:
                rows, more = _collect(self._of_stream(conn, query, after, limit + 1, backward=backward), limit)
                return Page(self._of_one_stream(query, rows), more, head)
            rows, more = _collect(self._by_position(conn, query, after, limit + 1, head, backward=backward), limit)
            return Page(self._of_many_streams(conn, rows), more, head)

    def _by_position(
        self, conn: apsw.Connection, query: Query, after: int, limit: int, head: int, *, backward: bool
    ) -> Iterator[RawEvent]:
        sides = sides_of(query, self._kinds)
        if not sides:
            return iter(())
        span = span_of(conn, query, after, head, backward=backward)
        if is_everything(conn, query, sides):
            return conn.execute(
                f"SELECT {_COLUMNS} FROM events AS e WHERE position > ? AND position < ?"
                f" ORDER BY position {'DESC' if backward else 'ASC'} LIMIT ?",
                (span.low, span.high, limit),
            )
        found = positions(conn, self._kinds, query, sides, span, limit)
        if not found:
            return iter(())
        return conn.execute(
            f"SELECT {_COLUMNS} FROM carray(?) AS c CROSS JOIN events AS e ON e.position = c.value", (array_of(found),)
        )

    def _of_stream(
        self, conn: apsw.Connection, query: Query, after: int, limit: int, *, backward: bool
    ) -> Iterator[RawEvent]:
        sides = sides_of(query, self._kinds)
        if not sides:
            return iter(())
        params: dict[str, Any] = {"tenant": query.tenant, "name": query.stream, "after": after, "limit": limit}
        where = "s.stream = (SELECT id FROM streams WHERE tenant = :tenant AND name = :name)"
        if after or not backward:
            where += f" AND s.version {'<' if backward else '>'} :after"
        if query.since is not None:
            where += " AND e.time >= :since"
            params["since"] = to_micros(query.since)
        if query.until is not None:
            where += " AND e.time <= :until"
            params["until"] = to_micros(query.until)
        alternatives: list[str] = []
        for number, side in enumerate(sides):
            tags = {f"t{number}_{i}": tag for i, tag in enumerate(side.tags)}
            params |= tags
            said = [has_tag(f":{name}", "e") for name in tags]
            if side.kinds is not None:
                said.append(f"e.kind IN {in_list(side.kinds)}")
            alternatives.append(" AND ".join(said) or "TRUE")
        if alternatives != ["TRUE"]:
            where += f" AND ({' OR '.join(alternatives)})"
        order = f"ORDER BY s.version {'DESC' if backward else 'ASC'} LIMIT :limit"
        statements = [
            f"SELECT {_COLUMNS} FROM {table} AS s CROSS JOIN events AS e ON e.position = s.position"
            f" WHERE {where} {order}"
            for table in ("by_stream", "by_stream_new")
        ]
        # What is in the second table comes behind all that is in the first one.
        return chain.from_iterable(conn.execute(one, params) for one in (statements[::-1] if backward else statements))

    def _of_one_stream(self, query: Query, rows: list[RawEvent]) -> list[Recorded[Any]]:
        kinds, log, tenant, stream = self._kinds.by_id, self._log, query.tenant or "", query.stream or ""
        return [
            Recorded(position, tenant, stream, version, kinds[kind], time, meta, body, log)
            for position, _, version, kind, time, meta, body in rows
        ]

    def _of_many_streams(self, conn: apsw.Connection, rows: list[RawEvent]) -> list[Recorded[Any]]:
        kinds, log = self._kinds.by_id, self._log
        names = self._streams.names(conn, [row[1] for row in rows])
        return [
            Recorded(position, name[0], name[1], version, kinds[kind], time, meta, body, log)
            for position, stream, version, kind, time, meta, body in rows
            for name in (names[stream],)  # an assignment; a third faster than *names[stream] above
        ]


def _collect(found: Iterator[RawEvent], limit: int) -> tuple[list[RawEvent], bool]:
    """At most `limit` rows and PAGE_BYTES of what was found, one at least, and whether there is more."""
    rows: list[RawEvent] = []
    size = 0
    while len(rows) <= limit and (chunk := list(islice(found, _CHUNK))):
        rows += chunk
        size += sum([len(row[5]) + len(row[6]) for row in chunk])
        if size > limits.PAGE_BYTES:
            end = _fitting(rows)
            if isinstance(found, apsw.Cursor):
                found.close()
            return rows[: min(end, limit)], end < len(rows) or len(rows) > limit
    return rows[:limit], len(rows) > limit


def _fitting(rows: list[RawEvent]) -> int:
    """How many of the rows fit into a page of PAGE_BYTES; one at least."""
    size = 0
    for number, row in enumerate(rows):
        size += len(row[5]) + len(row[6])
        if size > limits.PAGE_BYTES and number:
            return number
    return len(rows)
