"""Which processes run which functions: one heartbeat row a process, so that each can tell its share.

Members only say how many share the work. That no two do the same work is what the leases are for.
"""

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from foldlog import limits
from foldlog.errors import Unavailable
from foldlog.model.clock import Clock
from foldlog.ports.store import Batch, Delete, Put, Range, Row, RowKey, Store, Table

log = logging.getLogger("foldlog.members")
MEMBERS = Table("members")


class Member(msgspec.Struct, frozen=True):
    """The row's value; its key is the owner's name. Times are microseconds since 1970."""

    since: int
    until: int
    functions: tuple[str, ...]


class Members:
    """This process among those that work on the same store."""

    def __init__(self, store: Store, clock: Clock, owner: str, functions: Iterable[str], seconds: float) -> None:
        self._store, self._clock, self.owner, self._seconds = store, clock, owner, seconds
        self._functions = dict.fromkeys(functions)
        self._since = self._beaten = 0
        self._beaten_here = 0.0
        self._seen: dict[str, tuple[int, float]] = {}
        self.ready = asyncio.Event()
        self._failure: Exception | None = None

    async def keep(self, stop: asyncio.Event) -> None:
        """Beat until `stop`, then leave; `ready` is set after the first beat. What it fails with for good is raised
        where it is asked who there is."""
        try:
            while not stop.is_set():
                await self._keep_once()
                try:
                    async with asyncio.timeout(min(limits.STANDBY, self._seconds / 3)):
                        await stop.wait()
                except TimeoutError:
                    continue
            await self.leave()
        except Unavailable as error:
            log.warning("still counted as a member until its heartbeat is old", extra={"error": error.message})
        except Exception as error:
            self._failure = error
        finally:
            self.ready.set()

    async def _keep_once(self) -> None:
        try:
            if self.due():
                await self.beat()
            self.ready.set()
        except Unavailable as error:
            log.warning("no heartbeat", extra={"error": error.message})

    def due(self) -> bool:
        """Whether it is time for a heartbeat."""
        since = self._clock.now() - self._beaten
        pause = self._seconds / 3
        return (
            since > pause * 1e6 or since < 0 or asyncio.get_running_loop().time() - self._beaten_here > pause
        )  # as leases do

    async def beat(self) -> None:
        """Say that this process is alive; forget those that have long been silent. Errors: `Unavailable`."""
        now = self._clock.now()
        self._since = self._since or now
        member = Member(self._since, now + int(self._seconds * 1e6), tuple(self._functions))
        gone = [
            Delete(MEMBERS, row.key)
            for row in await self._rows()
            if row.key.key != self.owner and self._left(row, msgspec.json.decode(row.value, type=Member)) <= 0
        ]
        await self._store.commit(Batch(rows=[Put(MEMBERS, RowKey("", self.owner), msgspec.json.encode(member)), *gone]))
        self._beaten, self._beaten_here = now, asyncio.get_running_loop().time()

    async def leave(self) -> None:
        """This process is no member any more: the others need not wait to take its share."""
        self._seen.clear()
        await self._store.commit(Batch(rows=[Delete(MEMBERS, RowKey("", self.owner))]))

    async def drop(self, function: str) -> None:
        """This process runs the function no more, though it runs others."""
        self._functions.pop(function, None)
        await self.beat()

    async def of(self, function: str) -> list[str]:
        """Who runs a function, eldest first; this process among them. Errors: what the heartbeat failed with."""
        if self._failure is not None:
            raise self._failure
        found = []
        for row in await self._rows():
            member = msgspec.json.decode(row.value, type=Member)
            alive = row.key.key == self.owner or self._left(row, member) > 0
            if alive and function in member.functions:
                found.append((member.since, row.key.key))
        names = [name for _, name in sorted(found)]
        return names if self.owner in names else [*names, self.owner]

    def _left(self, row: Row, member: Member) -> float:
        """Seconds until it counts as dead: by the clock, or unchanged on this process's own monotonic one."""
        name, now = row.key.key, asyncio.get_running_loop().time()
        if name not in self._seen or self._seen[name][0] != row.version:
            self._seen[name] = row.version, now
        return min((member.until - self._clock.now()) / 1e6, self._seen[name][1] + self._seconds - now)

    async def _rows(self) -> list[Row]:
        rows, _ = await self._store.scan(MEMBERS, Range(limit=limits.MEMBERS))
        for name in self._seen.keys() - {row.key.key for row in rows}:
            del self._seen[name]
        return rows
