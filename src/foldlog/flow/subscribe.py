"""Pages of events up to the safe head, in order, nothing skipped; and a place to wait for a function's progress."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.ports.store import Store


class Fed(NamedTuple):
    """Events in order, and the position up to which everything that matches has now been seen.

    `kept`: what becomes of them need not be stored at once; the feed sees to that.
    """

    events: list[Recorded[Any]]
    upto: int
    kept: bool = False


Feed = Callable[[int, asyncio.Event], AsyncIterator[Fed]]
"""Gives what comes behind a position, until the event is set."""


async def follow(
    store: Store,
    query: Query,
    after: int,
    stop: asyncio.Event,
    idle: float = limits.IDLE_WAIT,
    limit: int = limits.PAGE,
) -> AsyncIterator[Fed]:
    """Follow the log behind `after` until `stop`.

    Yields whenever the position rises, and, so that the caller can renew its lease, at the latest every `idle` seconds
    with no events and the position unchanged. The caller pulls: no page is read before it has done with the last.
    """
    while not stop.is_set():
        page = await store.read(query, after, limit)
        upto = page.events[-1].position if page.more else max(after, page.head)
        if page.events or upto > after:
            after = upto
            yield Fed(page.events, upto)
        else:
            await either(store.wait(after, idle), stop.wait())
            yield Fed([], after)


async def either(*works: Coroutine[Any, Any, Any]) -> None:
    """Return when the first of these is done; the others are cancelled. An exception of a finished one is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


class Progress:
    """How far a function has come in this process, and a way to wait for any change of it.

    `done` counts the events that went right, an event of a projection once for each of its rows; `failed` the attempts
    that did not; `retried` those that were not the first. What is folded up to `folded` may not be stored yet.
    """

    def __init__(self) -> None:
        self.position = self.folded = 0
        self.done = self.failed = self.retried = 0
        self._waiting: list[asyncio.Future[None]] = []

    def advance(self, position: int) -> None:
        """Note a position and wake those who wait."""
        self.position = position
        self.pulse()

    def pulse(self) -> None:
        """Something changed: wake those who wait."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def change(self) -> None:
        """Return at the next change."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def reached(self, position: int) -> None:
        """Return when the function has come to `position`."""
        while self.position < position:
            await self.change()
