"""How long a handler's coroutine holds the event loop from one await to the next: meanwhile nothing else runs."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, TypeVar

from foldlog import limits

T = TypeVar("T")


@types.coroutine
def watched(work: Awaitable[T], tell: Callable[[float], object]) -> Generator[Any, Any, T]:
    """Await `work`; `tell` is called with the seconds of each of its steps that took longer than `limits.HELD`."""
    time = asyncio.get_running_loop().time
    steps: Generator[Any, Any, T] = work.__await__()
    step: Callable[[], Any] = partial(steps.send, None)
    while True:
        begun = time()
        try:
            awaited = step()
        except StopIteration as done:
            answer: T = done.value
            return answer
        finally:
            if (held := time() - begun) > limits.HELD:
                tell(held)
        try:
            step = partial(steps.send, (yield awaited))
        except BaseException as error:  # what is thrown in, a cancellation too, is for the handler
            step = partial(steps.throw, error)
