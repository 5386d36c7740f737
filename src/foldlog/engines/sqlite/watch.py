"""Waking those who wait: at once for this process's commits, by polling for those of others."""

import asyncio
import threading
from collections.abc import Callable

import apsw

from foldlog import limits
from foldlog.engines.sqlite.log import head_of

Loop = asyncio.AbstractEventLoop
_SLOWER = 1.25  # each poll that finds nothing makes the next pause longer by this


class Watch:
    """Knows a head that is never ahead of the log, and who waits for it to rise."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._head = 0
        # Each loop's waiters are touched on that loop only; the lock guards the outer dictionary.
        self._waiting: dict[Loop, dict[asyncio.Future[None], int | None]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._idle = self._ended = False

    async def wait(self, after: int | None, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self._ended:
                return
            # First on the list, then a look at the head: a commit in between sees one or is seen by the other.
            self._waiting.setdefault(loop, {})[future] = after
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="foldlog-watch", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify_all()
        timer = loop.call_later(timeout, _finish, future)
        try:
            if after is None or self._head <= after:
                await future
        finally:
            timer.cancel()
            with self._changed:
                waiters = self._waiting[loop]
                del waiters[future]
                if not waiters:
                    del self._waiting[loop]

    @property
    def head(self) -> int:
        """The last position that was heard of; the log may be longer."""
        return self._head

    def committed(self, head: int) -> list[Loop]:
        """Something was committed; the loops on which to call `wake` now."""
        self._head = max(self._head, head)
        if not self._waiting:
            return []
        with self._changed:
            return list(self._waiting)

    def wake(self, loop: Loop) -> None:
        """Wake those whose events may have come. Runs on the loop."""
        head = self._head
        for future, after in self._waiting.get(loop, {}).items():
            if after is None or head > after:
                _finish(future)

    def end(self) -> None:
        """Wake everybody and stop. Blocks."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            for loop in self._waiting:
                _call(loop, self._wake_all, loop)
        if self._thread is not None:
            self._thread.join()

    def _wake_all(self, loop: Loop) -> None:
        for future in self._waiting.get(loop, {}):
            _finish(future)

    # ---------------------------------------------------------------- in the thread

    def _run(self) -> None:
        conn: apsw.Connection | None = None
        seen, pause = -1, limits.WATCH_MIN
        while self._somebody_waits():
            try:
                conn = conn or self._connect()
                version = conn.execute("PRAGMA data_version").get
                if version != seen:
                    head = head_of(conn)
                    if head > self._head:
                        pause = limits.WATCH_MIN
                    seen = version
                    for loop in self.committed(head):
                        _call(loop, self.wake, loop)
            except apsw.Error:
                # Who reads next is told; here it only means to look again.
                if conn is not None:
                    conn.close(True)
                conn, seen, pause = None, -1, limits.WATCH_MAX
            pause = min(pause * _SLOWER, limits.WATCH_MAX)
            with self._changed:
                if not self._ended:
                    self._changed.wait(pause)
        if conn is not None:
            conn.close(True)

    def _somebody_waits(self) -> bool:
        """True when there is something to watch for; sleeps while there is not. False at the end."""
        with self._changed:
            while not self._waiting and not self._ended:
                self._idle = True
                self._changed.wait()
                self._idle = False
            return not self._ended


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call(loop: Loop, function: Callable[[Loop], None], argument: Loop) -> None:
    try:
        loop.call_soon_threadsafe(function, argument)
    except RuntimeError:  # the loop is closed; nobody waits there any more
        return
