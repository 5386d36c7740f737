"""The newest events, for all who follow the log in one process: each is fetched once, however many functions there are.

One statement looks for the safe head and brings what is new. Whoever reads while it is about to begin waits for the
same one; whoever comes later waits for the next, so that a read never misses what was committed before it.
"""

import asyncio
from bisect import bisect_right
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.engines.kinds import Kinds, sides_of
from foldlog.engines.postgres.kinds import refresh
from foldlog.engines.postgres.pool import Pool
from foldlog.engines.postgres.safe_head import SafeHead
from foldlog.engines.postgres.session import Connection, fetch
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.ports.store import Page

CONTENTS = (
    f"CASE WHEN octet_length(e.meta) <= {limits.SMALL} THEN e.meta END AS meta,"
    f" CASE WHEN octet_length(e.body) <= {limits.SMALL} THEN e.body END AS body"
)
"""Of an event `e`, what is read with a page: NULL for what is large."""


class _Newest(NamedTuple):
    """An event; None where it is large: it is read by itself then."""

    kind: int
    tenant: str
    event: Recorded[Any] | None


class Tail:
    """All events behind one position and up to another, which is the safe head or was not long ago."""

    def __init__(self, schema: str, log: str, kinds: Kinds, head: SafeHead, pool: Pool) -> None:
        self._schema, self._log, self._kinds, self._head, self._pool = schema, log, kinds, head, pool
        self._positions: list[int] = []
        self._events: list[_Newest] = []
        self._after = self._upto = head.value
        self._lacks = False  # whether the safe head lies beyond what the last fetch brought
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._select = (
            f"SELECT e.position, e.version, e.kind, e.time, e.tenant,"
            f" (SELECT name FROM {schema}.streams AS s WHERE s.id = e.stream),"
            f" {CONTENTS}"
            f" FROM {schema}.events AS e WHERE e.position > $1 ORDER BY e.position LIMIT $2"
        )

    async def page(self, query: Query, after: int, limit: int) -> Page | None:
        """A page in order of positions; None where it is to be read by index: far behind, by tags or time, of large
        events, or in front of a hole."""
        if after < self._after or self._head.hole is not None or not _is_simple(query):
            return None
        await self._fetched()
        if after < self._after or self._lacks:
            return None
        sides = sides_of(query, self._kinds)
        wanted = (
            None if any(side.kinds is None for side in sides) else {one for side in sides for one in side.kinds or ()}
        )
        found: list[Recorded[Any]] = []
        for kind, tenant, event in self._events[bisect_right(self._positions, after) :]:
            if (wanted is not None and kind not in wanted) or query.tenant not in {None, tenant}:
                continue
            if len(found) == limit:
                return Page(found, more=True, head=self._upto)
            if event is None:
                return None
            found.append(event)
        return Page(found, more=False, head=self._upto)

    async def _fetched(self) -> None:
        """Return after a fetch that began after this call. Errors: those of the pool."""
        if self._next is None:
            self._next = asyncio.create_task(self._fetch_next(), name="foldlog-tail")
            self._next.add_done_callback(_heard_out)
        await asyncio.shield(self._next)

    async def _fetch_next(self) -> None:
        try:
            async with self._turn:
                await asyncio.sleep(0)  # who was woken together comes along
                await self._pool.run(self._fetch)
        finally:
            if self._next is asyncio.current_task():
                self._next = None

    async def _fetch(self, conn: Connection) -> None:
        self._next = None
        head = self._head
        heard, known = head.heard, head.value
        if known - self._upto > limits.TAIL:
            self._begin(known)
        rows = await fetch(conn, self._select, [self._upto, limits.TAIL + 1])
        if len(rows) > limits.TAIL:
            self._begin(known)
            self._lacks = True
            return
        whole = known
        for row in rows:
            if row[0] > whole + 1:
                break
            whole = max(whole, row[0])
        ours = [row for row in rows if row[0] <= whole]
        newest = max([row[2] for row in ours], default=0)
        await refresh(self._kinds, conn, self._schema, newest)
        self._keep(ours, whole)
        head.saw(whole, newest)
        if len(ours) < len(rows):
            await head.pass_holes(conn)
        head.looked = max(head.looked, heard)
        self._lacks = head.value > whole

    def _keep(self, rows: list[Any], upto: int) -> None:
        kinds, log = self._kinds.by_id, self._log
        for position, version, kind, time, tenant, name, meta, body in rows:
            event: Recorded[Any] | None = None
            if meta is not None and body is not None:
                event = Recorded(position, tenant, name, version, kinds[kind], time, meta, body, log)
            self._positions.append(position)
            self._events.append(_Newest(kind, tenant, event))
        self._upto = upto
        if (over := len(self._events) - limits.TAIL) > 0:
            self._after = self._positions[over - 1]
            del self._positions[:over], self._events[:over]

    def _begin(self, position: int) -> None:
        """Go on behind a position: what lies before it is read by index."""
        self._positions, self._events = [], []
        self._after = self._upto = position


def _is_simple(query: Query) -> bool:
    return not (query.tags or query.since or query.until or any(side.tags for side in query.any_of))


def _heard_out(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waits is told; nobody may be left to wait
