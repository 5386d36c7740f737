"""Runs every function and schedule of a system in this process: holds its share of partitions, follows, stops."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from foldlog import limits
from foldlog.errors import Conflict, FoldlogError, Unavailable
from foldlog.flow import inbox
from foldlog.flow.breaker import Circuit
from foldlog.flow.deliver import Deliver
from foldlog.flow.effect import Effect
from foldlog.flow.fork import first
from foldlog.flow.lanes import Lanes
from foldlog.flow.lease import Lease, checkpoints
from foldlog.flow.members import Members, Vitals
from foldlog.flow.partition import ALL, Plan, partition_of, plan
from foldlog.flow.project import Project
from foldlog.flow.reading import Seen
from foldlog.flow.rebuild import Pace, Rebuild, claim
from foldlog.flow.recur import Recur
from foldlog.flow.subscribe import Progress, either, follow
from foldlog.flow.timers import next_due
from foldlog.flow.view import View
from foldlog.ports.store import RowKey
from foldlog.system import Function, System

log = logging.getLogger("foldlog.worker")


class Runner:
    """One function in this process: the partitions it holds, its progress, whether it has failed for good, and a
    handler's circuit breaker.

    `begun` is set once it works, waits for its share, or has failed. `circuit` outlives leases: a takeover does not
    make the outside any better.
    """

    def __init__(self, system: System, function: Function, members: Members) -> None:
        self.function = function
        breaker = function.breaker if isinstance(function, Effect) else None
        self.circuit = Circuit(breaker, system.clock)
        self.progress = Progress()
        self.failure: Exception | None = None
        self.begun = asyncio.Event()
        self._system, self._members = system, members
        self._lease = Lease(system.store, system.clock, function.name, system.owner, system.lease)
        self._work: Deliver | Project | None = None
        self._looked = False
        self._lacked = 0.0

    @property
    def held(self) -> list[int]:
        """The partitions that this process works on now."""
        return [] if self._work is None else list(self._work.seen)

    def vitals(self) -> Vitals:
        """How it does, for the heartbeat."""
        progress, work = self.progress, self._work
        return Vitals(
            progress.done,
            failed=progress.failed,
            retried=progress.retried,
            waiting=work.waiting if isinstance(work, Deliver) else 0,
            breaker=self.circuit.opened,
            impatient=self.circuit.impatient,
        )

    def seen(self, partition: int) -> int | None:
        """Up to where a projection's partition has come here; None where another process holds it. Errors: what it
        failed with."""
        if self.failure is not None:
            raise self.failure
        return self._work.seen.get(partition) if isinstance(self._work, Project) else None

    def settled(self, head: int) -> bool:
        """Whether its partitions in this process have seen everything up to `head`. Errors: what it failed with."""
        if self.failure is not None:
            raise self.failure
        # Where it holds nothing, others do.
        return self._looked if self._work is None else self._work.settled(head)

    async def settled_elsewhere(self, head: int) -> bool:
        """Whether the partitions that other processes hold have seen everything up to `head`, with no retry to come."""
        others = [number for number in ALL if number not in self.held]
        if not others:
            return True
        store, name = self._system.store, self.function.name
        found = await checkpoints(store, name)
        if any(number not in found or found[number].position < head for number in others):
            return False
        if isinstance(self.function, Effect) and self.function.timed:
            now = self._system.clock.now()
            if any([await next_due(store, name, number) <= now for number in others]):
                return False
        heads: dict[tuple[str, str], inbox.Item] = {}
        async for item in inbox.items(store, name, others):
            if item.operator:
                return False
            if item.status != inbox.DONE:
                heads.setdefault((item.tenant, item.key), item)
        return all(item.status == inbox.DEAD for item in heads.values())

    def nudge(self) -> None:
        """Look for an operator's requests now."""
        if isinstance(self._work, Deliver):
            self._work.nudge()

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
                    await self._fail(error)
                    return
                self.begun.set()
                name = self.function.name
                log.warning(
                    "%s: interrupted, goes on: %s", name, error, extra={"function": name, "error": error.message}
                )
                pause = min(pause * 2, limits.IDLE_WAIT)
            await _until(stop, random.random() * pause)

    async def _own(self, stop: asyncio.Event) -> None:
        self._lease.forget()
        while not stop.is_set():
            todo = await self._look()
            if todo.take and await self._lease.take(todo.take, await self._first()):
                break
            self._looked = True
            self.begun.set()
            self.progress.pulse()
            await _until(stop, self._pause_after(todo))
        else:
            return
        if not isinstance(self.function, Effect):
            await claim(self._system.store, self.function, self._lease)
        self.begun.set()
        try:
            await self._share(self._begin(), stop)
        finally:
            self._work = None
            self.progress.pulse()

    def _begin(self) -> Deliver | Project:
        system, function = self._system, self.function
        if isinstance(function, Effect):
            self._work = Deliver(
                Lanes(
                    system.store,
                    function,
                    system.execute,
                    system.clock,
                    self._lease,
                    self.progress,
                    self.circuit,
                )
            )
        else:
            self._work = Project(system.store, function, system.clock, self._lease, self.progress)
        return self._work

    async def _share(self, work: Deliver | Project, stop: asyncio.Event) -> None:
        """Work until `stop`, or until no partition is left, while some come and go."""
        lease, ended = self._lease, asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._balance(work, stop, ended))
            await self._run(work, ended)
        await lease.release({number: work.seen.get(number, 0) for number in lease.held})

    async def _run(self, work: Deliver | Project, ended: asyncio.Event) -> None:
        system, function, idle = self._system, self.function, self._lease.idle
        if isinstance(work, Deliver):
            await work.run(lambda after, until: follow(system.store, function.query, after, until, idle), ended)
        elif isinstance(function, View):
            rebuild = Rebuild(system.store, system.clock, system.serving, function, work, Pace(shared=True))
            await work.run(lambda after, until: rebuild.feed(after, until, idle), ended, rebuild.shown)

    async def _balance(self, work: Deliver | Project, stop: asyncio.Event, ended: asyncio.Event) -> None:
        lease = self._lease
        while not stop.is_set() and lease.held:
            try:
                todo = await self._look()
            except Unavailable as error:
                log.warning("not balanced", extra={"function": self.function.name, "error": error.message})
                await _until(stop, lease.idle)
                continue
            if todo.leave:
                log.info("lets partitions go", extra={"function": self.function.name, "partitions": len(todo.leave)})
                await lease.release(await work.leave(todo.leave))
            if todo.take and await lease.take(todo.take, await self._first()):
                log.info("takes partitions over", extra={"function": self.function.name, "partitions": len(todo.take)})
                await work.join(todo.take)
            await _until(stop, min(self._pause_after(todo), lease.idle))
        ended.set()

    async def _look(self) -> Plan:
        members = self._members
        await members.ready.wait()
        return plan(await self._lease.look(), await members.of(self.function.name), members.owner)

    def _pause_after(self, todo: Plan) -> float:
        """Short while others are about to let go of what is this process's share. Ever longer where they do not:
        then they are dead, and their leases say when."""
        if not todo.lacks:
            self._lacked = 0.0
            return todo.ends
        pause = min(max(limits.HANDOVER, self._lacked), todo.ends)
        self._lacked += pause
        return pause

    async def _first(self) -> int:
        function = self.function
        if not isinstance(function, Effect):
            return 0
        return await first(self._system.store, function.start, process=function.timed)

    async def _fail(self, failure: Exception) -> None:
        self.failure = failure
        self.begun.set()
        name, why = self.function.name, said(failure)
        log.critical(
            "%s: stopped for good, until this process starts anew: %s",
            name,
            why,
            exc_info=failure,
            extra={"function": name},
        )
        self.progress.pulse()
        try:
            await self._members.drop(name, inbox.told(why.partition("\n")[0])[: limits.STOPPED_CHARS])
        except FoldlogError as error:  # then its leases run out, and the others count it out by that
            log.warning("still counted as a member", extra={"function": self.function.name, "error": error.message})


class Worker:
    """All functions of one system, each in a task of its own, and this process's heartbeat among the others."""

    def __init__(self, system: System) -> None:
        names = [function.name for function in system.functions()]
        self._members = Members(
            system.store, system.clock, system.owner, names, system.lease, lambda name: self.runners[name].vitals()
        )
        self.runners = {function.name: Runner(system, function, self._members) for function in system.functions()}
        self.schedules = [Recur(system.store, system.clock, system.execute, one) for one in system.schedules.values()]
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start every function."""
        if self.runners:
            self._beating = asyncio.create_task(self._members.keep(self._stop))
        self._tasks = [asyncio.create_task(work.run(self._stop)) for _, work in self._works()]

    def _works(self) -> list[tuple[str, Runner | Recur]]:
        return [*self.runners.items(), *((one.name, one) for one in self.schedules)]

    async def stop(self) -> None:
        """Let running attempts finish (at most `limits.STOP` seconds), mark what is done, give the leases back."""
        self._stop.set()
        beating = [self._beating] if self._beating else []
        await asyncio.gather(*beating, *self._tasks, return_exceptions=True)
        self._tasks = []

    async def serve(
        self, stop: asyncio.Event, ready: Callable[[], object], stopped: Callable[[str, Exception], object]
    ) -> None:
        """Call `ready` once every function has begun, then wait for `stop`; call `stopped` for each that stops for
        good, before `ready` for those that could not begin. Errors: why the last one stopped, where none is left."""
        running = dict(zip(self._tasks, self._works(), strict=True))
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            await either(stop.wait(), self._begun())
            told = False
            while not stop.is_set():
                for task, (name, work) in list(running.items()):
                    if work.failure is not None:
                        del running[task]
                        stopped(name, work.failure)
                        if not running:
                            raise work.failure
                    elif task.done():
                        task.result()
                if not told:
                    ready()
                    told = True
                await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _begun(self) -> None:
        for runner in self.runners.values():
            await runner.begun.wait()

    async def settle(self, system: System, timeout: float) -> None:
        """Return when every function has seen all there is. Errors: `Unavailable` after `timeout` seconds."""
        head, store = 0, system.store
        try:
            async with asyncio.timeout(timeout):
                while True:
                    head = await store.head()
                    waited = False
                    for schedule in self.schedules:
                        while not schedule.settled():
                            waited = True
                            await schedule.progress.change()
                    for runner in self.runners.values():
                        while not runner.settled(head):
                            waited = True
                            await runner.progress.change()
                        while not await runner.settled_elsewhere(head):
                            waited = True
                            await store.wait(None, limits.WATCH_MAX)
                    if not waited and head == await store.head():
                        return
        except TimeoutError as error:
            behind = [f"{name} at {one.progress.position}" for name, one in self.runners.items()]
            raise Unavailable(
                f"not settled after {timeout} seconds: the log is at {head}, {', '.join(behind)}. A retry that waits "
                "longer needs a clock that a test can move (foldlog.testing.FakeClock)"
            ) from error


async def reached(
    system: System, worker: Worker | None, view: View, key: RowKey, position: int, timeout: float
) -> Seen:
    """Return when a row of the version that is read shows `position`, whichever process keeps it.

    Where it stands, and the row, or None where it is still to be read. Errors: `Unavailable`.
    """
    name, partition = view.name, partition_of(*key)
    try:
        async with asyncio.timeout(timeout):
            while True:
                source = await system.serving.source(view)
                name = source.table.name
                runner = worker.runners.get(name) if worker else None
                seen = None if runner is None else runner.seen(partition)
                if runner is not None and seen is not None:
                    if seen >= position:
                        return source, None
                    await runner.progress.change()
                    continue
                with suppress(TimeoutError):  # then this process may keep it, or another version may be read
                    async with asyncio.timeout(limits.STANDBY):
                        row = await system.awaited.row(source, key, position)
                        if await system.serving.source(view) == source:
                            return source, row
    except TimeoutError as error:
        raise Unavailable(f"{name} did not come to position {position} within {timeout} seconds") from error


def _cause(raised: Exception) -> Exception:
    """The first exception inside a group of tasks that ended together."""
    while isinstance(raised, ExceptionGroup):
        raised = raised.exceptions[0]
    return raised


def said(failure: BaseException) -> str:
    """In one text for people; Foldlog's own messages say what to do, too."""
    if isinstance(failure, FoldlogError):
        return f"{failure.code}: {failure.message}"
    return f"{type(failure).__name__}: {failure}"


async def _until(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
