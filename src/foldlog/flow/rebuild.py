"""A view brought up to the safe head beside live traffic: paced, measured, and switched to once it is built.

It is the same fold under the same lease as afterwards, so a build that was stopped or killed goes on at its checkpoint.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec

from foldlog import limits
from foldlog.errors import Conflict, Misconfigured, Unavailable
from foldlog.flow import serving
from foldlog.flow.lease import Lease, checkpoint
from foldlog.flow.monotonic import monotonic
from foldlog.flow.partition import ALL
from foldlog.flow.project import Project
from foldlog.flow.serving import Serving
from foldlog.flow.subscribe import Fed, follow
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.ports.store import Batch, Store

log = logging.getLogger("foldlog.rebuild")


class Pace:
    """How many events the next page has, how many rows wait to be stored, and how long to rest after either.

    Live traffic is told by the safe head: it rises between two pages. Then whatever holds the store is short and
    followed by as long a rest, so that commits of any process find it free; and where this process serves, too
    (`shared`), so are its folds, so that its tasks find the interpreter free. `rate` is the most events a second.
    """

    def __init__(self, *, shared: bool, rate: int | None = None) -> None:
        self._shared, self._rate = shared, rate
        self._head: int | None = None
        self._live, self._live_until = False, 0.0
        self._limit = limits.REBUILD_LEAST
        self.rows = limits.REBUILD_ROWS_LEAST
        """So many rows are stored once they wait …"""
        self.wait = limits.REBUILD_STORE
        """… or so many seconds after the last time."""
        self._spent = 0.0  # the last time took so long

    @property
    def limit(self) -> int:
        """Events of the next page; with a rate never more than one rest allows for."""
        return self._limit if self._rate is None else max(1, min(self._limit, int(self._rate * limits.REBUILD_REST)))

    def folded(
        self, events: int, head: int, took: float, now: float, *, stored: bool, held: float | None = None
    ) -> float:
        """Seconds to rest after a page of `events` that `took` seconds and saw the safe head at `head`. `stored`: its
        rows were written with it. `held`: so long of it nothing else ran here (None: all of it); the rest was spent on
        waiting for the store, and shorter pages would only wait more often."""
        if self._head is not None and head > self._head:
            self._live_until = now + limits.REBUILD_CALM
        self._head, self._live = head, now < self._live_until
        self.wait = self._live_wait() if self._live else self._calm_wait()
        gentle = self._live and (self._shared or stored)
        calm = limits.REBUILD_SLICE if self._shared else limits.REBUILD_SLICE_ALONE
        target = limits.REBUILD_SLICE_LIVE if gentle else calm
        if events:
            spent = took if gentle or held is None else held
            fitting = events * target / max(spent, 1e-6) if events >= self.limit else self._limit
            self._limit = int(max(limits.REBUILD_LEAST, min(fitting, 2 * self._limit, limits.PAGE_MAX)))
        rest = took * limits.REBUILD_RESTS if gentle else 0.0
        if self._rate is not None:
            rest = max(rest, events / self._rate - took)
        return min(rest, limits.REBUILD_REST)

    def _live_wait(self) -> float:
        if self._shared:  # it may be a version that is read, brought up after a stop: it shows what is stored
            return limits.REBUILD_STORE_LIVE
        fitting = self._spent / limits.REBUILD_STORE_SHARE
        return max(limits.REBUILD_STORE_LIVE, min(fitting, limits.REBUILD_STORE_RARELY))

    def _calm_wait(self) -> float:
        # Where a commit takes long, storing every second would take most of the time.
        return max(limits.REBUILD_STORE, min(self._spent * limits.REBUILD_STORE_SELDOM, limits.REBUILD_STORE_LIVE))

    def storing(self) -> None:
        """What waits is stored now, in commits that `stored` is told of."""
        self._spent = 0.0

    def stored(self, rows: int, took: float) -> float:
        """Seconds to rest after a commit of so many rows of one partition, which `took` seconds."""
        self._spent += took
        fitting = rows * limits.REBUILD_COMMIT_LIVE / max(took, 1e-6) * len(ALL) if self._live else math.inf
        if rows:
            self.rows = int(max(limits.REBUILD_ROWS_LEAST, min(fitting, 2 * self.rows, limits.REBUILD_ROWS)))
        return min(took * limits.REBUILD_RESTS, limits.REBUILD_REST) if self._live else 0.0


async def claim(store: Store, view: View, lease: Lease) -> None:
    """Make the version known, under its lease. Errors: `Unavailable` while it is being dropped, `Misconfigured` where
    its indexes were changed; the lease is free then, because who drops it, or whose code fits, needs it."""
    try:
        await serving.register(store, view)
    except (Unavailable, Misconfigured):
        await lease.release({number: lease.position(number) for number in lease.held})
        raise


class Rebuild:
    """Brings one view up to the safe head, under the lease that `project` commits with.

    `switches` False leaves the switch to a process that keeps the view up afterwards.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        where: Serving,
        view: View,
        project: Project,
        pace: Pace,
        *,
        switches: bool = True,
    ) -> None:
        self._store, self._clock, self._serving, self._view, self._project = store, clock, where, view, project
        self._pace, self._switches = pace, switches
        self._name, self._version = view.projection.name, view.projection.version
        self._whole = self._done = False
        self._measured = (0, 0.0)

    @property
    def done(self) -> bool:
        """Whether it is built, and that is noted."""
        return self._done

    async def feed(self, after: int, stop: asyncio.Event, idle: float = limits.IDLE_WAIT) -> AsyncIterator[Fed]:
        """Pages behind `after`, for the project to fold: paced until there is no more, then as they come."""
        stored = monotonic()
        self._measured = after, stored
        self._whole, pace = False, self._pace
        more = True
        if self._project.waiting:  # partitions have joined: what is kept of the others waits no longer for that
            await self._write(stop)
        while more and not stop.is_set():
            began = monotonic()
            page = await self._store.read(self._view.query, after, pace.limit)
            after, more = page.events[-1].position if page.more else max(after, page.head), page.more
            self._whole = not (more or self._project.keeps)
            yield Fed(page.events, after, kept=True)
            now = monotonic()
            keeps, held = self._project.keeps, self._project.held
            rest = pace.folded(len(page.events), page.head, now - began, now, stored=not keeps, held=held)
            if self._project.waiting >= pace.rows or now - stored > pace.wait or not more:
                await self._write(stop)
                stored = monotonic()
            await self._measure(after, now)
            await _rest(stop, rest)
        self._whole = not more
        yield Fed([], after)
        async for fed in follow(self._store, self._view.query, after, stop, idle, limits.FOLD_PAGE):
            yield fed

    async def _write(self, stop: asyncio.Event) -> None:
        """Store what is kept, a partition a commit, so that nobody else waits for all of them."""
        self._pace.storing()
        for partition in ALL:
            if stop.is_set():
                return
            began = monotonic()
            rows = await self._project.store(partition)
            await _rest(stop, self._pace.stored(rows, monotonic() - began))

    async def shown(self, position: int) -> None:
        """The last page is folded: where it was the last one there is, the view is built."""
        if self._whole:
            await self.caught_up(position)

    async def caught_up(self, position: int) -> None:
        """The view shows everything up to `position`, a safe head: it is built, and read from now on where that is
        wanted. Costs nothing once that is noted."""
        if self._done:
            return
        found, row = await serving.find_version(self._store, self._name, self._version)
        if found is None or not (found.built or await self._noted(position)):
            return
        with suppress(Conflict):  # another process has changed the row: look again with the next page
            if not found.built:
                built = msgspec.structs.replace(found, built=True, rate=0.0)
                await self._store.commit(Batch(rows=[serving.version_put(self._name, built, row)]))
                log.info("built", extra={"function": self._view.name, "position": position})
            served, _ = await serving.pointer(self._store, self._name)
            wanted = self._switches and self._view.projection.switch == "auto" and not found.served
            # Only upward: an older code that comes back must not take the reads with it.
            if wanted and served is not None and self._version > served.current:
                await serving.switch(self._store, self._name, self._version)
                self._serving.forget(self._view)
            self._done = True

    async def _noted(self, position: int) -> bool:
        """Whether the checkpoint, as everybody may read it, has come there."""
        for _ in range(2):
            held = await checkpoint(self._store, self._view.name)
            if held is not None and held.position >= position:
                return True
            await self._project.note()  # nothing of its own came for a while, so nothing was committed
        return False

    async def _measure(self, position: int, now: float) -> None:
        """Keep the rate, for whoever asks for progress; once in `limits.REBUILD_MEASURE` seconds."""
        since, began = self._measured
        if now - began < limits.REBUILD_MEASURE:
            return
        self._measured = position, now
        found, row = await serving.find_version(self._store, self._name, self._version)
        if found is None:
            return
        rate = (position - since) / (now - began)
        measured = msgspec.structs.replace(found, rate=round(rate, 1), measured=self._clock.now())
        with suppress(Conflict):  # somebody has just written it: the next measurement comes soon
            await self._store.commit(Batch(rows=[serving.version_put(self._name, measured, row)]))


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
