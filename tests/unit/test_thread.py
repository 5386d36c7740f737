"""What blocks runs in a thread of its own, and a caller that gives up is not held."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from foldlog.model.thread import in_thread
from tests.unit.site import until

who = ContextVar("who", default="nobody")


def test_the_answer_comes_from_another_thread_with_the_callers_context():
    async def main():
        who.set("ann")
        thread, found, added = await in_thread(lambda one: (threading.current_thread(), who.get(), one + 1), 2)
        assert (thread.name, found, added) == ("foldlog-apart", "ann", 3)
        assert not thread.is_alive()

    asyncio.run(main())


def test_an_exception_comes_through_even_one_that_no_coroutine_may_raise():
    def stop():
        raise StopIteration

    async def main():
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await in_thread(stop)

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, ValueError("nobody hears this")])
def test_a_cancelled_caller_leaves_the_thread_to_finish_alone(error):
    release, threads = threading.Event(), []

    def slow():
        threads.append(threading.current_thread())
        release.wait()
        if error:
            raise error

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await in_thread(slow)
        release.set()
        await until(lambda: not threads[0].is_alive())

    asyncio.run(main())


def test_an_answer_after_the_loop_has_ended_troubles_nobody():
    release, threads = threading.Event(), []

    def slow():
        threads.append(threading.current_thread())
        release.wait()

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await in_thread(slow)

    asyncio.run(main())
    release.set()
    threads[0].join()
