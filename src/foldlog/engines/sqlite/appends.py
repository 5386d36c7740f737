"""Writing events inside the writer's transaction: what is known of the log, and what is waiting to be written."""

from itertools import islice
from typing import Any

import apsw

from foldlog import limits
from foldlog.engines.batch import condition_conflict, stream_conflict, version_holds
from foldlog.engines.kinds import sides_of
from foldlog.engines.sqlite.kinds import Kinds
from foldlog.engines.sqlite.matching import MOST, Span, positions
from foldlog.engines.sqlite.merging import Storeys
from foldlog.ports.store import Append, Appended, Condition

_HEAD = (
    "SELECT id, coalesce((SELECT max(version) FROM by_stream_new WHERE stream = streams.id),"
    " (SELECT max(version) FROM by_stream WHERE stream = streams.id)) FROM streams WHERE tenant = ? AND name = ?"
)
_INSERT_EVENT = (
    "INSERT INTO events (position, stream, version, kind, time, tenant, meta, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


class Appends:
    """Checks and collects the appends of one transaction after another.

    Between transactions it remembers heads of streams, kinds and the last position; `begin` forgets them when another
    connection has written since, `forget` when this one's writes were rolled back.
    """

    def __init__(self, conn: apsw.Connection, start: int) -> None:
        self._conn, self._start = conn, start
        self._by_stream = Storeys(conn, "by_stream", ("stream", "version"), (0, 0))
        self._by_tag = Storeys(conn, "by_tag", ("tenant", "tag", "position"), ("", "", 0))
        self._seen = -1  # PRAGMA data_version: another number when another connection has written
        self.forget()

    def forget(self) -> None:
        """Nothing of the last transaction stands."""
        self._by_stream.restart()
        self._by_tag.restart()
        self._clear()

    def _clear(self) -> None:
        self._known = False
        self._kinds = Kinds()
        self._heads: dict[tuple[str, str], tuple[int, int]] = {}  # (tenant, stream) -> (id, version)
        self._events: list[tuple[Any, ...]] = []
        self._tags: list[tuple[str, str, int]] = []
        self._streams: list[tuple[int, str, str]] = []

    def begin(self, now: int) -> bool:
        """Look at the log from inside a transaction. False when nothing that was known can be kept."""
        seen = self._conn.execute("PRAGMA data_version").get
        kept = self._known and seen == self._seen
        if not kept:
            self._clear()
            self._seen, self._known = seen, True
            found = self._conn.execute(
                "SELECT (SELECT max(position) FROM events), (SELECT max(id) FROM streams), (SELECT max(id) FROM kinds),"
                f" ({self._by_stream.count}), ({self._by_tag.count})"
            ).get
            last, stream, kind, self._by_stream.entries, self._by_tag.entries = (number or 0 for number in found)
            self._head, self._stream = last, stream
            self._kinds.refresh(self._conn, kind)
            self._time = self._conn.execute("SELECT time FROM events WHERE position = ?", (last,)).get or 0
        # The clock may go back; the log's time does not.
        self._time = max(now, self._time)
        return kept

    @property
    def head(self) -> int:
        return self._head

    @property
    def time(self) -> int:
        return self._time

    def check(self, append: Append) -> tuple[int, int]:
        """The append's conditions hold, with all that this transaction has taken so far, or `Conflict`.

        The stream's number (0 for a new one) and version.
        """
        head = self._head_of(append)
        version = head[1]
        if not version_holds(append.expected, version):
            raise stream_conflict(append, version)
        if append.condition is not None:
            self._check_condition(append.condition)
        return head

    def append(self, append: Append, number: int, version: int) -> Appended:
        """Take the append; `flush` writes it."""
        tenant, stream, drafts = append.tenant, append.stream, append.drafts
        if not number:
            self._stream += 1
            number = self._stream
            self._streams.append((number, tenant, stream))
        category = stream.partition("-")[0]
        position, time, ids, events = max(self._head, self._start), self._time, self._kinds.ids, self._events
        for draft in drafts:
            position += 1
            version += 1
            said = category, draft.type, draft.schema, draft.encoding
            kind = ids.get(said) or self._new_kind(said)
            events.append((position, number, version, kind, time, tenant, draft.meta, draft.body))
            if draft.tags:
                self._tags.extend([(tenant, tag, position) for tag in dict.fromkeys(draft.tags)])
        self._head = position
        self._heads[tenant, stream] = number, version
        return Appended(version, position, time)

    def flush(self) -> None:
        """Write what was taken: few statements, because each one costs a turn of the interpreter's lock."""
        conn = self._conn
        if self._streams:
            conn.executemany("INSERT INTO streams (id, tenant, name) VALUES (?, ?, ?)", self._streams)
            self._streams = []
        if self._events:
            conn.executemany(_INSERT_EVENT, self._events)
            conn.executemany(
                "INSERT INTO by_stream_new VALUES (?, ?, ?)", [(event[1], event[2], event[0]) for event in self._events]
            )
            self._by_stream.grow(len(self._events))
            self._events = []
        if self._tags:
            conn.executemany("INSERT INTO by_tag_new VALUES (?, ?, ?)", self._tags)
            self._by_tag.grow(len(self._tags))
            self._tags = []
        if len(self._heads) > limits.STREAM_CACHE:
            for oldest in tuple(islice(self._heads, limits.STREAM_CACHE // 2)):
                del self._heads[oldest]

    def _head_of(self, append: Append) -> tuple[int, int]:
        """The stream's number and version; (0, 0) for a new one."""
        key = append.tenant, append.stream
        head = self._heads.get(key)
        if head is None:
            found = self._conn.execute(_HEAD, key).get
            if found is None:
                return 0, 0
            head = self._heads[key] = found[0], found[1] or 0
        return head

    def _check_condition(self, condition: Condition) -> None:
        self.flush()
        query, kinds = condition.query, self._kinds
        found = positions(self._conn, kinds, query, sides_of(query, kinds), Span(condition.after, MOST), 1)
        if found:
            raise condition_conflict(condition, found[0])

    def _new_kind(self, said: tuple[str, str, int, str]) -> int:
        number = self._kinds.newest + 1
        self._conn.execute("INSERT INTO kinds VALUES (?, ?, ?, ?, ?)", (number, *said)).get
        self._kinds.add(number, said)
        return number
