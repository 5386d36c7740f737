"""When lanes that wait for a time go on.

Times are the clock's, but no wait gets longer because the clock was set back: that is told by the loop's own monotonic
clock, and whatever waits for a time of before is then due so much earlier.
"""

import asyncio
import heapq
from collections.abc import Callable

from foldlog.flow.monotonic import monotonic
from foldlog.flow.page import Lane
from foldlog.flow.subscribe import either
from foldlog.model.clock import Clock


class Wakeup:
    """The lanes that wait, by their times. `earlier` is called with how many microseconds what waits is due earlier."""

    def __init__(self, clock: Clock, earlier: Callable[[int], None]) -> None:
        self._clock, self._earlier = clock, earlier
        self._due: list[tuple[int, Lane]] = []
        self._changed = asyncio.Event()
        self._last, self._last_here = 0, 0.0

    def now(self) -> int:
        """The clock's time. Look at a due time after this call, not before: it may have become an earlier one."""
        now, here = self._clock.now(), monotonic()
        if now < self._last:
            self._set_back(self._last + int((here - self._last_here) * 1e6) - now)
        self._last, self._last_here = now, here
        return now

    def set(self, due: int, lane: Lane) -> None:
        """A lane is to be looked at again at `due`."""
        heapq.heappush(self._due, (due, lane))
        self._changed.set()

    def rung(self) -> list[Lane]:
        """The lanes whose time has come."""
        self._changed.clear()
        now, lanes = self.now(), []
        while self._due and self._due[0][0] <= now:
            lanes.append(heapq.heappop(self._due)[1])
        return lanes

    async def wait(self) -> None:
        """Return when the next lane's time has come, or one was set."""
        if not self._due:
            await self._changed.wait()
            return
        due = self._due[0][0]
        await either(self._clock.sleep((due - self._clock.now()) / 1e6), self._changed.wait())
        now = self.now()
        # Whoever has slept for all of it is due, whatever the clock says now.
        if not self._changed.is_set() and self._due[0][0] > now:
            self._set_back(self._due[0][0] - now)

    def _set_back(self, micros: int) -> None:
        self._due = [(due - micros, lane) for due, lane in self._due]
        self._earlier(micros)
