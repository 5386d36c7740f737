"""A running event loop in a thread, for programs that are not async."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from foldlog.errors import Unavailable

T = TypeVar("T")


class Portal:
    """Runs coroutines on a loop in a thread of its own, and hands their results back."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._loop.run_forever, name="foldlog-portal", daemon=True)
        self._thread.start()

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened it."""
        return self._process != os.getpid()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or its exception. An interrupt of the caller cancels it.

        Errors: `Unavailable` once the portal is closed, and in a process that was forked from the one that opened it,
        where no thread would ever answer.
        """
        if self.forked:
            work.close()
            raise Unavailable("the app was opened before this process was forked: open it in each process, after that")
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "a blocking call inside the portal's own loop would wait for itself: use the App's methods"
            )
        with self._lock:
            if self._closed:
                work.close()
                raise Unavailable("the app is not open: its blocking() has ended")
            future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel the calls that other threads still wait for, stop the loop and its thread.

        In a forked process there is nothing to stop: the thread is the parent's.
        """
        if self.forked:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(_wind_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _wind_up() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
