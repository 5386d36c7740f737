"""Time and ids, behind two small protocols so that tests can hold both in their hands."""

import asyncio
import os
import threading
import time
from typing import Protocol

from foldlog import limits


class Clock(Protocol):
    """Microseconds since 1970 in UTC, and a way to wait."""

    def now(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` of this clock have passed."""

    async def until(self, moment: int) -> None:
        """Return when the clock says `moment` or later. Unlike `sleep` it moves no clock that a test holds."""


class Ids(Protocol):
    """Makes the ids of commands that come without one."""

    def __call__(self) -> str:
        """A text that was never returned before, by any process."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until(self, moment: int) -> None:
        while (left := (moment - self.now()) / 1e6) > 0:  # noqa: ASYNC110 - the time of day has no event to wait for
            await asyncio.sleep(min(left, limits.CLOCK_LOOK))


class TimeOrderedIds:
    """32 hex digits that rise with time: 48 bits of milliseconds, a counter, and randomness that is drawn once.

    Like UUID version 7 (RFC 9562, section 6.2, method 1) without its fixed bits. Time order keeps index pages hot;
    a forked process draws its randomness anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._random = ""
        self._last = 0

    def __call__(self) -> str:
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._random = os.getpid(), os.urandom(6).hex()
            stamp = (time.time_ns() // 1_000_000) << 32
            self._last = max(self._last + 1, stamp)
            return f"{self._last:020x}{self._random}"
