"""A few threads that read, each with a connection of its own."""

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


class Readers:
    """Runs functions of a connection. Started thread by thread, as they are needed."""

    def __init__(self, path: str, connect: Callable[[], apsw.Connection], most: int) -> None:
        self._path, self._connect, self._most = path, connect, most
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0  # asked and not yet answered
        self._lock = threading.Lock()
        self._gate = threading.Condition(self._lock)
        self._reading, self._held = 0, False
        self._ended = False

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
