"""An event loop without a selector, threads or a clock: time jumps to the next timer, and a seed says who goes first.

Each simulated process has a lane. Inside a lane callbacks run in the order in which asyncio promises to run them; which
lane goes next is drawn, as it is among processes on one machine. A lane can stand still (its timers ring late), or end
between two callbacks, as a process does that is killed: nothing of it runs any more, no `finally` either.
"""

import asyncio
import gc
import heapq
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from foldlog import limits

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Lane:
    """The callbacks of one simulated process that are ready to run. `owner` is whoever the loop's user says."""

    __slots__ = ("ended", "name", "owner", "paused", "ready")

    def __init__(self, name: str, owner: Any = None) -> None:
        self.name, self.owner = name, owner
        self.ready: deque[_Handle] = deque()
        self.paused = self.ended = False


LANE: ContextVar[Lane] = ContextVar("foldlog.simulation.lane")


class Stuck(Exception):
    """The simulation cannot go on: nothing is left to run, or it runs round in circles."""


class _Handle(asyncio.TimerHandle):
    # Without the bookkeeping of its parent: a simulation makes millions.
    __slots__ = ("args", "call", "context", "off", "time")

    def __init__(self, time: float, call: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        self.time, self.call, self.args, self.context = time, call, args, context
        self.off = False

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<{self.call!r} at {self.time}>"

    def when(self) -> float:
        return self.time

    def cancel(self) -> None:
        self.off = True

    def cancelled(self) -> bool:
        return self.off


# Sets of tasks and futures are walked in order of their hashes; by default those are addresses, which no seed repeats.
class _Future(asyncio.Future[Any]):
    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class _Task(asyncio.Task[Any]):
    def __init__(self, number: int, *args: Any, **options: Any) -> None:
        self.number = number
        super().__init__(*args, **options)
        self._log_destroy_pending = False  # whoever is killed leaves tasks behind

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one coroutine and what it starts. `random` decides among lanes and among timers of the same time."""

    def __init__(self, random: Random) -> None:
        self.slept = 0.0  # seconds that passed at once, which no timer saw
        self.turns = 0
        self.root = Lane("simulation")
        self._draw = random.random
        self._now = 0.0
        self._number = 0
        self._busy: list[Lane] = []
        self._timers: list[tuple[float, float, int, _Handle]] = []
        self._tasks: list[_Task] = []
        self._prune_at = 256
        self._running = self._closed = False
        self.loose: list[BaseException] = []

    # ------------------------------------------------------------ lanes

    def pause(self, lane: Lane, seconds: float) -> None:
        """Let nothing of a lane run for so long."""
        if lane.paused or lane.ended:
            return
        lane.paused = True
        if lane in self._busy:
            self._busy.remove(lane)

        def resume() -> None:
            lane.paused = False
            if lane.ready and not lane.ended:
                self._busy.append(lane)

        context = copy_context()
        context.run(LANE.set, self.root)
        self.call_later(seconds, resume, context=context)

    def end(self, lane: Lane) -> None:
        """Let nothing of a lane run ever again."""
        lane.ended = True
        lane.ready.clear()
        if lane in self._busy:
            self._busy.remove(lane)

    # ------------------------------------------------------------ what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(self._now, callback, args, copy_context() if context is None else context)
        self._enqueue(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Handle(when, callback, args, copy_context() if context is None else context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._draw(), self._number, handle))
        return handle

    async def rest(self, seconds: float) -> None:
        """`asyncio.sleep` without its fuss."""
        future = self.create_future()
        self.call_at(self._now + seconds, _ring, future)
        await future

    def create_future(self) -> asyncio.Future[Any]:
        self._number += 1
        return _Future(self._number, self)

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        self._number += 1
        task = _Task(self._number, coro, loop=self, **options)
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._tasks = [one for one in self._tasks if not one.done()]
            self._prune_at = 2 * len(self._tasks) + 256
        return task

    def run_in_executor(self, _executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """There are no threads here: the function runs now, and its answer is there at once."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio reports of tasks that nobody waited for: only those of killed processes are left to report."""
        if isinstance(error := context.get("exception"), BaseException):
            self.loose.append(error)

    # ------------------------------------------------------------ running

    def run_until_complete(self, future: Any) -> Any:
        """The coroutine's answer. Errors: `Stuck`; `RuntimeError` inside another running loop."""
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - asyncio's own door for makers of loops
            future.close()
            raise RuntimeError("a simulation runs a loop of its own: call it from a plain def, not from a coroutine")
        hooks, collecting = sys.get_asyncgen_hooks(), gc.isenabled()
        asyncio._set_running_loop(self)  # noqa: SLF001 - as above
        sys.set_asyncgen_hooks(None, self._generator_dropped)
        # When the collector comes is not in the seed, and what it finds may be an async generator to be closed.
        gc.disable()
        self._running = True
        try:
            task = self.create_task(future)
            self._run(task)
            return task.result()
        finally:
            self._running = False
            self.close()
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above
            if collecting:
                gc.enable()

    def close(self) -> None:
        """Drop what is left. Its `finally` blocks run now, when nobody looks at the world any more."""
        self._closed = True
        self._busy.clear()
        self._timers.clear()
        for task in self._tasks:
            if not task.done():
                self._drop(task)
        self._tasks.clear()

    def _run(self, task: asyncio.Task[Any]) -> None:
        busy, draw = self._busy, self._draw
        while not task.done():
            if not busy:
                self._leap()
                continue
            number = int(draw() * len(busy)) if len(busy) > 1 else 0
            lane = busy[number]
            handle = lane.ready.popleft()
            if not lane.ready:
                busy[number] = busy[-1]
                busy.pop()
            if handle.off:
                continue
            self.turns += 1
            if self.turns > limits.SIMULATION_TURNS:
                raise Stuck(f"still busy after {limits.SIMULATION_TURNS:,} turns of the loop, at {self._now:.3f} s")
            handle.context.run(handle.call, *handle.args)

    def _leap(self) -> None:
        timers = self._timers
        while timers and timers[0][3].off:
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"nothing is left to run at {self._now:.3f} s: a coroutine waits for what never comes")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[3]
            if not handle.off:
                self._enqueue(handle)

    def _enqueue(self, handle: _Handle) -> None:
        lane = handle.context.get(LANE, self.root)
        if lane.ended or self._closed:
            return
        if not (lane.ready or lane.paused):
            self._busy.append(lane)
        lane.ready.append(handle)

    def _drop(self, task: _Task) -> None:
        coroutine = task.get_coro()
        if not isinstance(coroutine, Coroutine):
            return
        for _ in range(limits.SIMULATION_FINALLY):
            try:
                coroutine.close()
                return
            except (Exception, asyncio.CancelledError, BaseExceptionGroup) as error:
                # A `finally` that awaits, or fails, or a group of tasks whose end is told as a group: close it again.
                self.loose.append(error)

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.create_task(_closed(generator))


def _ring(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _closed(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()
