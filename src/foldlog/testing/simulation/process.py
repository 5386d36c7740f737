"""A simulated process: the real worker over a link to the shared store, in a lane that can stall or end at any call."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from copy import copy
from dataclasses import replace
from typing import Any, Protocol

from foldlog import limits
from foldlog.errors import Misconfigured
from foldlog.flow.execute import Origin
from foldlog.model.clock import Clock, Ids
from foldlog.model.handler import Context as About
from foldlog.model.handler import Handler
from foldlog.model.message import Receipt, Recorded, Send, to_micros
from foldlog.model.signature import hints, parameters
from foldlog.runtime.worker import Worker
from foldlog.system import System
from foldlog.testing.clock import START
from foldlog.testing.simulation import trace
from foldlog.testing.simulation.fault import Fault
from foldlog.testing.simulation.link import Link, Surroundings
from foldlog.testing.simulation.loop import LANE, Lane, VirtualLoop

GONE = object()
"""The answer of a process that was killed, or that did not answer in time."""


class Injected(Exception):
    """What a simulated fault raises in a handler's place."""


class Surface(Surroundings, Protocol):
    """What a process needs of its run beside what its link needs."""

    ids: Ids

    def build(self, clock: Clock, link: Link) -> System:
        """A system over the link."""

    def ended(self, process: "Process") -> None:
        """A process was killed or has stopped."""


class SkewedClock:
    """The run's time as one process sees it: `skew` microseconds off."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop, self.skew = loop, 0
        self._start = to_micros(START)

    def now(self) -> int:
        return self._start + int(self._loop.time() * 1e6) + self.skew

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until(self, moment: int) -> None:
        while (left := (moment - self.now()) / 1e6) > 0:  # noqa: ASYNC110 - the time of day has no event to wait for
            await asyncio.sleep(min(left, limits.CLOCK_LOOK))


class Process:
    """One life of a process, from start to stop or crash."""

    def __init__(self, run: Surface, number: int, life: int) -> None:
        self.number, self.life, self.name = number, life, f"p{number}.{life}"
        self.lane = Lane(self.name, self)
        self.run = run
        self.clock = SkewedClock(run.loop)
        self.up = True
        self._context: Context = copy_context()
        self._context.run(LANE.set, self.lane)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._count = 0
        system = run.build(self.clock, Link(run, self))
        self.system = replace(system, owner=self.name)
        self.worker = Worker(self.system)
        self._context.run(self.worker.start)

    def ask(self, send: Send, command_id: str) -> asyncio.Future[Any]:
        """Send a command in this process: a future of its receipt, its exception, or `GONE`."""
        loop = self.run.loop
        answer = loop.create_future()
        self._count += 1
        number = self._count
        self._asked[number] = answer
        loop.create_task(self._send(send, command_id, number), context=self._context.copy())
        loop.call_later(limits.SIMULATION_PATIENCE, self._answer, number, GONE)
        return answer

    async def _send(self, send: Send, command_id: str, number: int) -> None:
        answer: Receipt | Exception
        try:
            answer = await self.system.execute.send(send, Origin(command_id=command_id))
        except Exception as error:
            answer = error
        self._answer(number, answer)

    def _answer(self, number: int, answer: Any) -> None:
        waiting = self._asked.pop(number, None)
        if waiting is not None:
            waiting.set_result(answer)

    def crash(self) -> None:
        """Nothing of it runs any more; whoever waits for an answer hears that it is gone."""
        self.run.loop.end(self.lane)
        self._end()

    def stall(self, seconds: float) -> None:
        """Stand still for so long."""
        self.run.loop.pause(self.lane, seconds)

    async def stop(self) -> None:
        """Stop cleanly, as on SIGTERM; returns when it has, or was killed on the way."""
        if 0 in self._asked:
            return  # it is stopping already
        done = self.run.loop.create_future()
        self._asked[0] = done
        self.run.loop.create_task(self._stop(), context=self._context.copy())
        await done

    async def _stop(self) -> None:
        await self.worker.stop()
        self.run.loop.end(self.lane)
        self._end()

    def _end(self) -> None:
        if self.up:
            self.up = False
            for number in list(self._asked):
                self._answer(number, GONE)
            self.run.ended(self)


def around(handler: Handler[Any]) -> Handler[Any]:
    """The handler as a simulation runs it: in no thread, and with the faults that handlers meet.

    It knows its run by the lane it is called in, so that one list of parts serves all processes.
    """
    function = handler.function
    names = parameters(function)
    with_context = len(names) > 1
    is_async = inspect.iscoroutinefunction(function)

    async def call(event: Any, ctx: About) -> Any:
        process: Process = LANE.get().owner
        attempt = _Attempt(process, handler, ctx)
        await attempt.before()
        arguments = (event, ctx) if with_context else (event,)
        answer = await function(*arguments) if is_async else function(*arguments)
        await attempt.after()
        return answer

    _annotate(call, function, names)
    simulated: Handler[Any] = copy(handler)
    simulated.function = call
    return simulated


def _annotate(call: Callable[..., Any], function: Callable[..., Any], names: Sequence[inspect.Parameter]) -> None:
    found = hints(function, "a handler")
    known: dict[str, Any] = {}
    for parameter in names[:1]:
        try:
            known[parameter.name] = found[parameter.name]
        except (KeyError, Misconfigured):
            continue  # on= names the events; if it does not, the App says so
    shown = [one.replace(annotation=known.get(one.name, one.annotation)) for one in names[:1]]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    about = "ctx" if not names or names[0].name != "ctx" else "about"
    call.__annotations__ = {**known, about: About}
    signature = inspect.Signature([*shown, inspect.Parameter(about, kind, annotation=About)])
    call.__signature__ = signature  # type: ignore[attr-defined]  # what inspect looks at


class _Attempt:
    """One attempt of a handler and the faults around it. No fault is in the last one: it would make a dead letter."""

    def __init__(self, process: Process, handler: Handler[Any], ctx: About) -> None:
        self._process, self._run = process, process.run
        event = ctx.recorded
        self._where = f"{handler.name} {_place(event)}, attempt {ctx.attempt}"
        self._may_fail = ctx.attempt < handler.retry.attempts
        self._timeout = handler.timeout
        self._late = 0.0

    async def before(self) -> None:
        run, dice = self._run, self._run.dice
        run.trace.add(run.loop.time(), self._process.name, trace.plain, f"handles {self._where}")
        await asyncio.sleep(limits.SIMULATION_LATENCY * run.random.random() ** 2)
        if not self._may_fail:
            return
        if dice.falls(Fault.FAIL_BEFORE):
            run.fault(Fault.FAIL_BEFORE, self._process.name, self._where)
            raise Injected("simulated: failed before its effect")
        if dice.falls(Fault.SLOW_HANDLER):
            strength = run.fault(Fault.SLOW_HANDLER, self._process.name, self._where)
            late = 2 * self._timeout * strength
            # Half of the time, as the last digits of its strength say, it is slow once its effect is there.
            if int(strength * 1e6) % 2:
                self._late = late
            else:
                await asyncio.sleep(late)

    async def after(self) -> None:
        run, dice = self._run, self._run.dice
        if dice.falls(Fault.CRASH_IN_HANDLER):
            run.fault(Fault.CRASH_IN_HANDLER, self._process.name, self._where)
            self._process.crash()
            await run.loop.create_future()
        if self._late:
            await asyncio.sleep(self._late)
        if self._may_fail and dice.falls(Fault.FAIL_AFTER):
            run.fault(Fault.FAIL_AFTER, self._process.name, self._where)
            raise Injected("simulated: failed after its effect")


def _place(event: Recorded[Any] | None) -> str:
    return f"{event.stream}@{event.version}" if event is not None else "a page"
