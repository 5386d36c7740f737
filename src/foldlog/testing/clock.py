"""A clock and ids that a test holds in its hands."""

import asyncio
import heapq
import threading
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from foldlog.model.message import to_micros

START = datetime(2026, 1, 1, tzinfo=UTC)
_REST = 10  # turns of the loop before time jumps: whoever was just woken comes to its own next sleep first

_Sleeper = tuple[int, int, "asyncio.Future[None]"]


class FakeClock:
    """A clock that stands still until somebody sleeps: then it jumps to the earliest time anybody waits for.

    Sleepers wake in order of time, each with `now()` at its own wake time. `advance` moves it by hand, which is what
    timers of processes and schedules wait for: they make it jump no more than a calendar does.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = to_micros(start)
        self._lock = threading.Lock()
        self._count = 0
        # A list of sleepers for each event loop: a future belongs to its loop's thread.
        self._sleepers: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Sleeper]] = WeakKeyDictionary()
        self._waiters: dict[asyncio.Future[None], tuple[int, asyncio.AbstractEventLoop]] = {}

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Sleepers whose time has come wake when the loop next turns."""
        self._move_to(self._now + round(seconds * 1e6))

    async def sleep(self, seconds: float) -> None:
        """Return when the clock says so: at once, as soon as nobody waits for an earlier time."""
        loop = asyncio.get_running_loop()
        waiting = self._sleepers.setdefault(loop, [])
        if not waiting:
            loop.call_soon(self._turn, loop, _REST)
        self._count += 1
        future: asyncio.Future[None] = loop.create_future()
        heapq.heappush(waiting, (self._now + max(0, round(seconds * 1e6)), self._count, future))
        await future

    async def until(self, moment: int) -> None:
        """Return when somebody has moved the clock so far: nobody's timer makes it jump."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._now >= moment:
                return
            self._waiters[future] = moment, loop
        try:
            await future
        finally:
            with self._lock:
                self._waiters.pop(future, None)

    def _turn(self, loop: asyncio.AbstractEventLoop, left: int) -> None:
        waiting = self._sleepers[loop]
        while waiting and waiting[0][2].done():  # cancelled: nobody waits for that time any more
            heapq.heappop(waiting)
        if not waiting:
            return
        if left == 0:
            due, _, future = heapq.heappop(waiting)
            self._move_to(due)
            future.set_result(None)
            left = _REST
        if waiting:
            loop.call_soon(self._turn, loop, left - 1)

    def _move_to(self, time: int) -> None:
        with self._lock:
            self._now = max(self._now, time)
            due = [(future, loop) for future, (moment, loop) in self._waiters.items() if moment <= self._now]
        for future, loop in due:
            loop.call_soon_threadsafe(_wake, future)


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class SequentialIds:
    """The ids "id-000001", "id-000002" and so on."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> str:
        self._last += 1
        return f"id-{self._last:06}"
