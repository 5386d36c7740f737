"""A few threads that read, each with a connection of its own; and one connection for what is read on the spot."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

import apsw

from foldlog import limits
from foldlog.engines.sqlite.faults import loses_trust, said
from foldlog.errors import Unavailable

T = TypeVar("T")
_Work = tuple[Callable[[apsw.Connection], Any], asyncio.Future[Any]]


_ELSEWHERE: Any = object()


class Readers:
    """Runs functions of a connection: `run` in threads, started as they are needed; `here` in the caller's own thread.

    `here` is for what is sure to be short: such a read takes some ten microseconds, the way to a thread and back ten
    times that. It never waits for anybody: where it would have to, `run` takes over.
    """

    def __init__(self, path: str, connect: Callable[[], apsw.Connection], most: int) -> None:
        self._path, self._connect, self._most = path, connect, most
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0  # asked and not yet answered
        self._lock = threading.Lock()
        self._gate = threading.Condition(self._lock)
        self._reading, self._held = 0, False
        self._ended = False
        self._near: apsw.Connection | None = None
        self._using = threading.Lock()

    def begin(self) -> None:
        """Open the connection of `here`. Blocks."""
        self._near = self._connect()
        self._near.set_busy_timeout(0)

    async def here(self, work: Callable[[apsw.Connection], T]) -> T:
        """What `work` returns."""
        result = self._at_once(work)
        if result is _ELSEWHERE:
            return await self.run(work)
        await asyncio.sleep(0)  # who asks again and again must not keep all others from the loop
        return result

    def _at_once(self, work: Callable[[apsw.Connection], T]) -> T:
        if not self._using.acquire(blocking=False):  # the thread of another event loop is reading
            return _ELSEWHERE  # type: ignore[no-any-return]  # told apart by its identity
        try:
            conn = self._near
            with self._lock:
                if conn is None or self._held or self._ended:
                    return _ELSEWHERE  # type: ignore[no-any-return]  # as above
                self._reading += 1
            try:
                return work(conn)
            except apsw.BusyError:
                return _ELSEWHERE  # type: ignore[no-any-return]  # as above
            except Exception as failure:
                if loses_trust(failure):
                    self._near = None
                    conn.close(True)
                raise said(failure, self._path) from failure
            finally:
                with self._lock:
                    self._reading -= 1
                    if self._held and not self._reading:
                        self._gate.notify_all()
        finally:
            self._using.release()

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """What `work` returns. A cancelled caller leaves it to finish by itself."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._ended:
                raise Unavailable("the store is closed")
            if self._busy >= limits.READER_QUEUE:
                raise Unavailable(f"{limits.READER_QUEUE} reads of {self._path} wait", retry_after=0.1)
            self._busy += 1
            if self._busy > len(self._threads) < self._most:
                thread = threading.Thread(target=self._run, name="foldlog-reader", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._queue.put((work, future))
        return await future

    @contextmanager
    def held(self, seconds: float) -> Iterator[bool]:
        """Hold new reads back inside; whether those under way ended within `seconds`."""
        end = time.monotonic() + seconds
        with self._lock:
            self._held = True
            while self._reading and (left := end - time.monotonic()) > 0:
                self._gate.wait(left)
            quiet = not self._reading
        try:
            yield quiet
        finally:
            with self._lock:
                self._held = False
                self._gate.notify_all()

    def end(self) -> None:
        """Finish what was asked. Blocks."""
        with self._lock:
            self._ended = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        with self._using:
            if self._near is not None:
                self._near.close(True)
                self._near = None

    def _run(self) -> None:
        conn: apsw.Connection | None = None
        while (asked := self._queue.get()) is not None:
            work, future = asked
            with self._lock:
                while self._held:
                    self._gate.wait()
                self._reading += 1
            try:
                conn = conn or self._connect()
                result, error = work(conn), None
            except Exception as failure:
                result, error = None, said(failure, self._path)
                if conn is not None and loses_trust(failure):
                    conn.close(True)
                    conn = None
            with self._lock:
                self._busy -= 1
                self._reading -= 1
                if self._held and not self._reading:
                    self._gate.notify_all()
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # its loop is closed; nobody asks
                continue
            finally:
                del asked, work, future, result, error
        if conn is not None:
            conn.close(True)


def _settle(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
