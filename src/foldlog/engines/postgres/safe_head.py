"""The safe head: the position up to which the log can no longer change.

Positions come from a sequence: they are given before a commit and lost by a rollback, so the log has holes that will be
filled and holes that will not. A hole is dead when every transaction that may own it has ended. Whoever took a position
holds ROW EXCLUSIVE on the events until it ends, so at a hole these transactions are listed, after the events were
looked at, and waited for. Each of them says, by another lock, from where on its positions are (`begun` in
statement.py), so that it delays nothing in front of these. Time plays no part in it, nor do transactions that never
touched the events."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from foldlog import limits
from foldlog.engines.postgres.session import Connection, fetch

_PREPARED = "-1/"  # how the names of prepared transactions begin


@dataclass(slots=True)
class Hole:
    """Positions up to `upto` are missing here and there, and the transactions `owners` may fill them; `listed` are
    those that might when it was found."""

    upto: int
    owners: set[str]
    listed: set[str]


class SafeHead:
    """One process's knowledge of the safe head. `value` never falls; `risen` is called when it rises.

    `heard` counts the calls that there may be more, `looked` those that a look has begun after and come to its end.
    """

    def __init__(self, schema: str, value: int) -> None:
        self.value, self.newest_kind = value, 0
        self.heard = self.looked = 0
        self.risen: Callable[[], None] = lambda: None
        self.commits = 0  # what the processes' counts come to: another number when anything was committed
        self.hole: Hole | None = None
        self._lock = asyncio.Lock()
        self._look = (
            f"SELECT l.last, l.count, (SELECT coalesce(max(id), 0) FROM {schema}.kinds),"
            f" (SELECT coalesce(sum(seq), 0)::bigint FROM {schema}.writers)"
            " FROM (SELECT coalesce(max(position), 0) AS last, count(*) AS count FROM"
            f" (SELECT position FROM {schema}.events WHERE position > $1 ORDER BY position LIMIT $2) AS p) AS l"
        )
        self._positions = f"SELECT position FROM {schema}.events WHERE position > $1 ORDER BY position LIMIT $2"
        self._newest = f"SELECT coalesce(max(id), 0) FROM {schema}.kinds"
        events = f"'{schema}.events'::regclass"
        self._owners = (
            "SELECT l.virtualtransaction, l.pid IS NULL,"
            " (SELECT min(((b.classid::bigint & 4095) << 32) | b.objid::bigint) FROM pg_catalog.pg_locks AS b"
            " WHERE b.virtualtransaction = l.virtualtransaction AND b.database = l.database"
            " AND b.locktype = 'advisory' AND b.objsubid = 2"
            f" AND (b.classid::bigint >> 12) = ({events}::oid::bigint & 1048575))"
            " FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted"
            " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
            f" AND l.relation = {events}"
        )

    def committed(self, positions: list[int]) -> None:
        """This process has committed these positions, in rising order: where they follow the head, it need not look."""
        if positions and positions[0] == self.value + 1 and positions[-1] - positions[0] == len(positions) - 1:
            self._rise(positions[-1])
        elif positions and positions[-1] > self.value:
            self.heard += 1

    def saw(self, whole: int, kind: int) -> None:
        """Every position up to `whole` was read; `kind` is the newest kind among their events."""
        self.newest_kind = max(self.newest_kind, kind)
        self._rise(whole)

    async def look(self, conn: Connection) -> int:
        """The safe head as it is now. What was committed before the call is below it, unless a hole is in front of
        it."""
        heard = self.heard
        value = await self._climb(conn)
        self.looked = max(self.looked, heard)
        return value

    async def _climb(self, conn: Connection) -> int:
        target = 0
        while True:
            before = self.value
            last, count, kind, commits = (await fetch(conn, self._look, [before, limits.HEAD_PAGE]))[0]
            self.newest_kind, self.commits = max(self.newest_kind, kind), commits
            if count and last - before == count:
                self._rise(last)
            elif last > self.value:
                await self.pass_holes(conn)
            if count < limits.HEAD_PAGE:
                target = target or last
                if self.value >= target or self.value == before:
                    return self.value
            elif self.value == before:
                return self.value

    async def pass_holes(self, conn: Connection) -> None:
        """Go up to the first hole that somebody may still fill."""
        async with self._lock:
            found = [row[0] for row in await fetch(conn, self._positions, [self.value, limits.HEAD_PAGE])]
            upto = found[-1] if found else 0
            whole = self.value
            for position in found:
                if position != whole + 1:
                    break
                whole = position
            if whole < upto:
                whole = max(whole, await self._dead(conn, upto))
            # Kinds are committed before their events: those of all that is below the head are there by now.
            ((kind,),) = await fetch(conn, self._newest)
            self.newest_kind = max(self.newest_kind, kind)
            self._rise(whole)

    async def _dead(self, conn: Connection, upto: int) -> int:
        """The position up to which nobody fills a hole any more. Those up to `upto` were looked at before this call."""
        prepared: set[str] = set()
        bounds: dict[str, int] = {}
        for name, is_prepared, bound in await fetch(conn, self._owners):
            bounds[name] = bound or 0
            if is_prepared:
                prepared.add(name)
        hole = self.hole
        # Others raise the value meanwhile: a hole that was passed tells nothing.
        if hole is None or hole.upto <= self.value:
            hole = self.hole = Hole(upto, set(bounds), set(bounds))
        ended = hole.owners.difference(bounds)
        hole.owners -= ended
        if any(not name.startswith(_PREPARED) for name in ended):
            # A transaction that is prepared gets another name: one that was not there may be one of those that ended.
            hole.owners |= prepared - hole.listed
        return min([hole.upto, *(bounds[name] for name in hole.owners)])

    def _rise(self, value: int) -> None:
        risen, self.value = value > self.value, max(value, self.value)
        if self.hole is not None and self.value >= self.hole.upto:
            self.hole = None
        if risen:
            self.risen()
