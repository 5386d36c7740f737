"""A thread of one's own for what blocks: asyncio's are shared with handlers, who may hang in all of them."""

import asyncio
import threading
from collections.abc import Callable


async def run_apart(function: Callable[[], None]) -> None:
    """Run the function in a new thread. A cancelled caller leaves it to finish by itself."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except BaseException as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(_settle, future, error)
        except RuntimeError:  # the loop is closed; nobody waits
            return

    thread = threading.Thread(target=run, name="foldlog-apart", daemon=True)
    thread.start()
    await asyncio.wait([future])
    thread.join()  # it has nothing left to do
    future.result()


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
