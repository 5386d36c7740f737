"""Runs every function of a system in this process: takes its lease, follows the log, stops cleanly."""

import asyncio
import logging
import random

from foldlog import limits
from foldlog.errors import Conflict, Unavailable
from foldlog.flow.attempt import Effect
from foldlog.flow.breaker import Circuit
from foldlog.flow.deliver import Deliver
from foldlog.flow.fork import first
from foldlog.flow.lease import Lease, checkpoint
from foldlog.flow.project import Project
from foldlog.flow.rebuild import Pace, Rebuild, claim
from foldlog.flow.subscribe import Progress, follow
from foldlog.flow.view import View
from foldlog.system import Function, System

log = logging.getLogger("foldlog.worker")


class Runner:
    """One function in this process: its progress, whether it has failed for good, and a handler's circuit breaker.

    `circuit` outlives leases: a takeover does not make the outside any better.
    """

    def __init__(self, system: System, function: Function) -> None:
        self.function = function
        breaker = function.handler.breaker if isinstance(function, Effect) else None
        self.circuit = Circuit(breaker, system.clock)
        self.progress = Progress()
        self.failure: BaseException | None = None
        self.owns = False
        self._system = system
        self._lease = Lease(system.store, system.clock, function.name, system.owner, system.lease)
        self._deliver: Deliver | None = None

    def settled(self, head: int) -> bool:
        """Whether it has seen everything up to `head`. Errors: what it failed with."""
        if self.failure is not None:
            raise self.failure
        if isinstance(self.function, Effect):
            return self._deliver is not None and self._deliver.settled(head)
        return self.progress.position >= head

    def nudge(self) -> None:
        """Look for an operator's requests now."""
        if self._deliver is not None:
            self._deliver.nudge()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; after a lost lease or an unavailable store again, after anything else never again."""
        pause = 0.05
        while not stop.is_set():
            try:
                await self._own(stop)
                pause = 0.05
            except Exception as raised:
                error = _cause(raised)
                if not isinstance(error, Conflict | Unavailable):
                    self._fail(error)
                    return
                name = self.function.name
                log.warning(
                    "%s: interrupted, goes on: %s", name, error, extra={"function": name, "error": error.message}
                )
                pause = min(pause * 2, limits.IDLE_WAIT)
            await _until(stop, random.random() * pause)

    async def _own(self, stop: asyncio.Event) -> None:
        lease = self._lease
        wait = await lease.acquire(await self._first())
        if wait:
            log.debug("another process owns it", extra={"function": self.function.name})
            await _until(stop, min(wait, limits.STANDBY))
            return
        self.owns = True
        # A view has come nowhere before it is sure that its version is known, and read where it should be.
        self.progress.advance(lease.position if isinstance(self.function, Effect) else 0)
        try:
            await self._work(lease, stop)
        finally:
            self.owns = False
            self.progress.pulse()
        await lease.release()

    async def _work(self, lease: Lease, stop: asyncio.Event) -> None:
        system, function = self._system, self.function
        if isinstance(function, Effect):
            await self._deliver_from(lease, function, stop)
        else:
            await claim(system.store, function, lease)
            project = Project(system.store, function, system.clock, lease)
            await project.begin()
            pace = Pace(shared=True)
            rebuild = Rebuild(system.store, system.clock, system.serving, function, project, pace)
            after = await rebuild.run(lease.position, stop, self.progress.advance)
            async for fed in follow(system.store, function.query, after, stop, lease.idle, limits.FOLD_PAGE):
                await project.page(fed)
                await rebuild.caught_up(fed.upto)
                self.progress.advance(fed.upto)

    async def _deliver_from(self, lease: Lease, effect: Effect, stop: asyncio.Event) -> None:
        system = self._system
        self._deliver = Deliver(
            system.store, effect, system.schemas, system.execute, system.clock, lease, self.progress, self.circuit
        )
        try:
            feed = follow(system.store, effect.query, lease.position, stop, lease.idle)
            await self._deliver.run(feed, stop)
        finally:
            self._deliver = None

    async def _first(self) -> int:
        function = self.function
        return await first(self._system.store, function.handler.start) if isinstance(function, Effect) else 0

    def _fail(self, failure: BaseException) -> None:
        self.failure = failure
        name = self.function.name
        log.critical("%s: stopped for good", name, exc_info=failure, extra={"function": name})
        self.progress.pulse()


class Worker:
    """All functions of one system, each in a task of its own."""

    def __init__(self, system: System) -> None:
        self.runners = {function.name: Runner(system, function) for function in system.functions()}
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start every function."""
        self._tasks = [asyncio.create_task(runner.run(self._stop)) for runner in self.runners.values()]

    async def stop(self) -> None:
        """Let running attempts finish (at most `limits.STOP` seconds), mark what is done, give the leases back."""
        self._stop.set()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def settle(self, system: System, timeout: float) -> None:
        """Return when every function has seen all there is. Errors: `Unavailable` after `timeout` seconds."""
        head = 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    head = await system.store.head()
                    for runner in self.runners.values():
                        while not runner.settled(head):
                            await runner.progress.change()
                    if head == await system.store.head() and all(one.settled(head) for one in self.runners.values()):
                        return
        except TimeoutError as error:
            behind = [f"{name} at {one.progress.position}" for name, one in self.runners.items()]
            raise Unavailable(
                f"not settled after {timeout} seconds: the log is at {head}, {', '.join(behind)}. A retry that waits "
                "longer needs a clock that a test can move (foldlog.testing.FakeClock)"
            ) from error


async def reached(system: System, worker: Worker | None, view: View, position: int, timeout: float) -> None:
    """Return when the rows that are read of the view show `position`, whichever process keeps them.

    Errors: `Unavailable`.
    """
    name = view.name
    try:
        async with asyncio.timeout(timeout):
            while True:
                name = (await system.serving.source(view)).table.name
                runner = worker.runners.get(name) if worker else None
                if runner is not None and runner.settled(position):
                    return
                if runner is not None and runner.owns:
                    await runner.progress.change()
                    continue
                held = await checkpoint(system.store, name)
                if held is not None and held.position >= position:
                    return
                await system.store.wait(None, limits.WATCH_MAX)
    except TimeoutError as error:
        raise Unavailable(f"{name} did not come to position {position} within {timeout} seconds") from error


def _cause(raised: Exception) -> Exception:
    """The first exception inside a group of tasks that ended together."""
    while isinstance(raised, ExceptionGroup):
        raised = raised.exceptions[0]
    return raised


async def _until(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
