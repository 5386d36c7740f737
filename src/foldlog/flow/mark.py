"""What a handler has done, made durable: marks and outbox rows in one commit with the checkpoint."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from foldlog import limits
from foldlog.flow.inbox import DONE, Item
from foldlog.flow.lease import Lease
from foldlog.ports.store import RowChange, RowKey

Answer = tuple[Callable[[], list[RowChange]], int, asyncio.Future[None]]


class Marks:
    """Which events above the checkpoint are done: as long as none is missing below, the checkpoint says it all."""

    def __init__(self, function: str, position: int) -> None:
        self._function = function
        self.cursor = position
        self.written: set[int] = set()
        self._open: deque[int] = deque()
        self._finished: set[int] = set()
        self._plain: list[int] = []

    def open(self, position: int) -> None:
        """An event is in flight; positions rise."""
        self.cursor = position
        self._open.append(position)

    def opened(self) -> int:
        """How many are in flight, counting those that are done behind one that is not."""
        return len(self._open)

    def finish(self, position: int, *, plain: bool) -> None:
        """An event is done; `plain` where it has no row of its own."""
        self._finished.add(position)
        if plain:
            self._plain.append(position)

    def low(self) -> int:
        """The position up to which everything is done or has a row."""
        while self._open and self._open[0] in self._finished:
            self._finished.discard(self._open.popleft())
        return self._open[0] - 1 if self._open else self.cursor

    def settle(self, changes: dict[RowKey, RowChange]) -> int:
        """Add the marks to write and to clear to `changes`; returns the new checkpoint."""
        low = self.low()
        plain, self._plain = self._plain, []
        for position in plain:
            if position > low:
                mark = Item(self._function, position, 0, "", status=DONE)
                changes[mark.row_key] = mark.put()
                self.written.add(position)
        for position in [one for one in self.written if one <= low]:
            mark = Item(self._function, position, 0, "")
            changes[mark.row_key] = mark.delete()
            self.written.discard(position)
        return low


class Committer:
    """Writes whatever has come together since its last commit. `stored` is told the checkpoint after each."""

    def __init__(self, lease: Lease, marks: Marks, stored: Callable[[int], None]) -> None:
        self._lease, self._marks, self._stored = lease, marks, stored
        self._changes: dict[RowKey, RowChange] = {}
        self._answers: deque[Answer] = deque()
        self._dirty = asyncio.Event()
        self._flushing = self._closed = self._ended = False

    @property
    def busy(self) -> bool:
        """Whether something is still to be stored."""
        return self._dirty.is_set() or self._flushing

    def touch(self) -> None:
        """Something was finished: the checkpoint may rise."""
        self._dirty.set()

    def add(self, change: RowChange) -> None:
        """Store a change, with what was finished before it; nobody waits for it."""
        self._changes[change.key] = change
        self._dirty.set()

    async def store(self, changes: Callable[[], list[RowChange]], weight: int = 0) -> None:
        """Return when `changes` are stored. They are asked for when their commit begins, together with their marks.

        `weight` is about how many bytes they have: heavy answers go into commits of their own.
        """
        if self._ended:
            raise asyncio.CancelledError
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers.append((changes, weight, future))
        self._dirty.set()
        await future

    def close(self) -> None:
        """Store what there is, then end."""
        self._closed = True
        self._dirty.set()

    async def run(self) -> None:
        """Store until closed. Never cancelled by a stop: a commit whose end nobody saw would leave the lease's version
        unknown. Errors: `Conflict` when the lease was lost, `Unavailable`; whoever waits is cancelled then."""
        try:
            while not self._closed or self._dirty.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._lease.idle):
                        await self._dirty.wait()
                finished = self._dirty.is_set()
                self._flushing = True
                self._dirty.clear()
                low = await self._flush(finished)
                self._flushing = False
                self._stored(low)
        finally:
            self._ended = True
            for _, _, future in self._answers:
                future.cancel()

    async def _flush(self, finished: bool) -> int:
        changes, self._changes = self._changes, {}
        waiting: list[asyncio.Future[None]] = []
        room = limits.BATCH_BYTES // 2
        while self._answers and (room > 0 or not waiting):
            answer, weight, future = self._answers.popleft()
            room -= weight
            changes.update((change.key, change) for change in answer())
            waiting.append(future)
        if self._answers:
            self._dirty.set()
        lease, low = self._lease, self._marks.settle(changes)
        try:
            if changes or (finished and low > lease.position) or lease.overtaken(low) or lease.due():
                await lease.commit(list(changes.values()), low)
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return low
