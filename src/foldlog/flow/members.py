"""Which processes run which functions, and how they do: one heartbeat row a process, so that each can tell its share.

Members only say how many share the work. That no two do the same work is what the leases are for. What else stands in a
heartbeat, the vitals of each function, is for people to see.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Unavailable
from foldlog.flow.breaker import state_of
from foldlog.flow.monotonic import monotonic
from foldlog.model.clock import Clock
from foldlog.ports.store import Batch, Delete, Put, Range, Row, RowKey, Store, Table

log = logging.getLogger("foldlog.members")
MEMBERS = Table("members")


class Vitals(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a function does in one process.

    `done`, `failed` and `retried` are the counts of `Progress`, since the process began to run it; `rate` is events a
    second, between its last heartbeats. `waiting` is how many items wait in rows, of at most `limits.PARKED`. `breaker`
    is `Circuit.opened`, `impatient` says that attempts count though it is open.
    """

    done: int = 0
    rate: float = 0.0
    failed: int = 0
    retried: int = 0
    waiting: int = 0
    breaker: int | None = None
    impatient: bool = False

    def state(self, now: int) -> str | None:
        """What the breaker is at this time; None where there is none."""
        return None if self.breaker is None else state_of(self.breaker, now)


class Member(msgspec.Struct, frozen=True):
    """The row's value; its key is the owner's name. Times are microseconds since 1970.

    `vitals` are those of `functions`, in their order. They are not one map of both, because processes whose code knows
    no vitals must be able to read the row, and theirs must be readable. `stopped` says why this process runs a function
    no more.
    """

    since: int
    until: int
    functions: tuple[str, ...]
    vitals: tuple[Vitals, ...] = ()
    stopped: dict[str, str] = {}

    def vitals_of(self, function: str) -> Vitals | None:
        """Those of a function; None where this process does not run it."""
        if function not in self.functions:
            return None
        at = self.functions.index(function)
        return self.vitals[at] if at < len(self.vitals) else Vitals()


class _Seen(NamedTuple):
    """A row as it was last looked at, and since when it has not changed by this process's own clock."""

    value: bytes
    member: Member
    since: float


class Members:
    """This process among those that work on the same store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        owner: str,
        functions: Iterable[str],
        seconds: float,
        vitals: Callable[[str], Vitals] = lambda _: Vitals(),
    ) -> None:
        self._store, self._clock, self.owner, self._seconds = store, clock, owner, seconds
        self._functions = dict.fromkeys(functions)
        self._stopped: dict[str, str] = {}
        self._vitals = vitals
        self._told: dict[str, Vitals] = {}
        self._measured, self._done = 0.0, dict[str, int]()
        self._since = self._beaten = 0
        self._beaten_here = 0.0
        self._seen: dict[str, _Seen] = {}
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
        """Whether it is time for a heartbeat, or a breaker's state has changed: that is to be seen soon."""
        if any(self._vitals(name).breaker != told.breaker for name, told in self._told.items()):
            return True
        since = self._clock.now() - self._beaten
        pause = self._seconds / 3
        return since > pause * 1e6 or since < 0 or monotonic() - self._beaten_here > pause  # as leases do

    async def beat(self) -> None:
        """Say that this process is alive, and how its functions do; forget those that have long been silent. Errors:
        `Unavailable`."""
        now = self._clock.now()
        self._since = self._since or now
        told = self._look()
        until = now + int(self._seconds * 1e6)
        member = Member(self._since, until, tuple(told), tuple(told.values()), self._stopped)
        gone = [
            Delete(MEMBERS, row.key)
            for row in await self._rows()
            if row.key.key != self.owner and self._left(row.key.key) <= 0
        ]
        await self._store.commit(Batch(rows=[Put(MEMBERS, RowKey("", self.owner), msgspec.json.encode(member)), *gone]))
        self._beaten, self._beaten_here, self._told = now, monotonic(), told

    def _look(self) -> dict[str, Vitals]:
        """The vitals as they are now. Where two heartbeats come close to each other the rate stays as it was: it would
        tell of too short a time."""
        here = monotonic()
        found = {name: self._vitals(name) for name in self._functions}
        if (passed := here - self._measured) < min(limits.STANDBY, self._seconds / 3):
            rates = {name: told.rate for name, told in self._told.items()}
        else:
            rates = {name: (one.done - self._done.get(name, one.done)) / passed for name, one in found.items()}
            self._measured, self._done = here, {name: one.done for name, one in found.items()}
        return {name: msgspec.structs.replace(one, rate=round(rates.get(name, 0.0), 1)) for name, one in found.items()}

    async def leave(self) -> None:
        """This process is no member any more: the others need not wait to take its share."""
        self._seen.clear()
        await self._store.commit(Batch(rows=[Delete(MEMBERS, RowKey("", self.owner))]))

    async def drop(self, function: str, why: str) -> None:
        """This process runs the function no more, though it runs others; `why` is for people to see."""
        self._stopped[function] = why
        self._functions.pop(function, None)
        self._told.pop(function, None)
        await self.beat()

    async def of(self, function: str) -> list[str]:
        """Who runs a function, eldest first; this process among them. Errors: what the heartbeat failed with."""
        if self._failure is not None:
            raise self._failure
        found = []
        for row in await self._rows():
            name, member = row.key.key, self._seen[row.key.key].member
            alive = name == self.owner or self._left(name) > 0
            if alive and function in member.functions:
                found.append((member.since, name))
        names = [name for _, name in sorted(found)]
        return names if self.owner in names else [*names, self.owner]

    def _left(self, name: str) -> float:
        """Seconds until it counts as dead: by the clock, or unchanged on this process's own monotonic one."""
        _, member, since = self._seen[name]
        here = monotonic()
        return min((member.until - self._clock.now()) / 1e6, self._seconds - (here - since))

    async def _rows(self) -> list[Row]:
        rows, _ = await self._store.scan(MEMBERS, Range(limit=limits.MEMBERS))
        here, before = monotonic(), self._seen
        self._seen = {}
        for row in rows:
            seen = before.get(row.key.key)
            if seen is None or seen.value != row.value:  # a version comes again where the row was deleted meanwhile
                seen = _Seen(row.value, msgspec.json.decode(row.value, type=Member), here)
            self._seen[row.key.key] = seen
        return rows


async def members(store: Store, now: int) -> dict[str, Member]:
    """Those whose heartbeat is not too old, as anybody may read them, by their names."""
    rows, _ = await store.scan(MEMBERS, Range(limit=limits.MEMBERS))
    found = {row.key.key: msgspec.json.decode(row.value, type=Member) for row in rows}
    return {name: member for name, member in found.items() if member.until > now}
