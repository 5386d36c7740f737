"""Pages: what one call of a handler that takes lists is about.

A lane that has its turn takes along what other lanes have ready. A page that failed as a whole tells not which event
was to blame: its events may then come in pages of half the size only, and so on, until the one that fails is alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from foldlog.flow.inbox import Item

Lane = tuple[str, str]


class Place(NamedTuple):
    """An item in a page, and the lane that it stands in."""

    lane: Lane
    queue: deque[Item]
    item: Item


class Pages:
    """The lanes that wait for their turn, and those that another lane's page has taken along."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Lane, deque[Item]] = {}
        self._taken: dict[Lane, tuple[Lane, asyncio.Future[None]]] = {}
        self._halved: dict[int, int] = {}

    async def wait(self, lane: Lane, queue: deque[Item]) -> None:
        """A lane waits for its turn; others may take its first items along meanwhile."""
        self._waiting[lane] = queue
        await asyncio.sleep(0)  # whoever is ready at this moment comes into the first page, not into the second

    def leave(self, lane: Lane) -> asyncio.Future[None] | None:
        """A lane has its turn; returns the end of the page that has taken it along, where there is one."""
        self._waiting.pop(lane, None)
        return self._taken[lane][1] if lane in self._taken else None

    def caller(self, lane: Lane) -> Lane:
        """The lane whose page has taken this one along, or itself."""
        return self._taken[lane][0] if lane in self._taken else lane

    def gather(self, lane: Lane, queue: deque[Item], runs: Callable[[Item], bool]) -> list[Place]:
        """A page for the lane that has its turn: items that run, in order in each lane, of one tenant."""
        page = list(self._fill(self._order(lane, queue), runs))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for place in page:
            self._taken[place.lane] = lane, done
        return page

    def _order(self, lane: Lane, queue: deque[Item]) -> Iterable[tuple[Lane, deque[Item]]]:
        waiting = ((one, items) for one, items in self._waiting.items() if one[0] == lane[0] and one not in self._taken)
        lanes = ((one, items) for one, items in chain([(lane, queue)], waiting) if items)
        # What failed in a page comes first, the smallest page first: so one bad event is found by few calls.
        return sorted(lanes, key=lambda one: self._bound(one[1][0])) if self._halved else lanes

    def _fill(self, lanes: Iterable[tuple[Lane, deque[Item]]], runs: Callable[[Item], bool]) -> Iterator[Place]:
        count, most = 0, self._most
        for lane, queue in lanes:
            for item in queue:
                if count >= min(most, self._bound(item)) or not runs(item):
                    break
                most = min(most, self._bound(item))
                count += 1
                yield Place(lane, queue, item)
            if count >= most:
                return

    def _bound(self, item: Item) -> int:
        return self._halved.get(item.position, self._most)

    def end(self, page: Iterable[Place]) -> None:
        """The lanes of a page go on by themselves."""
        for place in page:
            _, done = self._taken.pop(place.lane, (place.lane, None))
            if done is not None and not done.done():
                done.set_result(None)

    def halve(self, items: Iterable[Item], count: int) -> None:
        """A page of `count` items failed as a whole."""
        for item in items:
            self._halved[item.position] = max(1, count // 2)

    def forget(self, item: Item) -> None:
        """An item is done, or dead: its next page is like any other."""
        if self._halved:
            self._halved.pop(item.position, None)
