"""A thread of one's own for what blocks. Not from a pool: functions that hang would fill it for all others."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """The function's answer, or its exception, from a new thread. The caller's context variables are seen in it.

    A cancelled caller leaves the thread to finish by itself, since a thread cannot be stopped; it is a daemon, so that
    one which hangs does not keep the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = copy_context()

    def settle(settle_it: Callable[[], None]) -> None:
        if not future.done():
            settle_it()

    def run() -> None:
        try:
            answer = context.run(function, *arguments)
        except BaseException as raised:
            # A future takes no StopIteration: it would end the coroutine that waits for it.
            error = RuntimeError("a function raised StopIteration") if isinstance(raised, StopIteration) else raised
            tell(lambda: future.set_exception(error))
        else:
            tell(lambda: future.set_result(answer))

    def tell(settle_it: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed; nobody waits
            loop.call_soon_threadsafe(settle, settle_it)

    thread = threading.Thread(target=run, name="foldlog-apart", daemon=True)
    thread.start()
    try:
        return await future
    finally:
        if not future.cancelled():
            thread.join()  # it has nothing left to do
