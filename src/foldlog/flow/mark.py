"""What a handler has done, made durable: marks and outbox rows in one commit with their checkpoints."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from foldlog import limits
from foldlog.flow.inbox import DONE, Item
from foldlog.flow.lease import Lease
from foldlog.ports.store import RowChange, RowKey

_NOBODY = -1
Change = tuple[int, Callable[[], list[RowChange]], int]
"""A partition, its changes, about how many bytes they have."""
Answer = tuple[int, Callable[[], list[RowChange]], int, asyncio.Future[None]]


Place = tuple[int, int]
"""An event's position, and the index of the item that it is: several where it is worked off for several keys."""
_WHOLE = 2**31  # behind every index


class Marks:
    """Which of a partition's events above its checkpoint are done: as long as none is missing below, the checkpoint
    says it all. `cursor` is up to where its events were read, `known` are those above it that have a row."""

    def __init__(self, function: str, position: int, partition: int = 0) -> None:
        self._function, self._partition = function, partition
        self.cursor: Place = position, _WHOLE
        self.known: set[Place] = set()
        self.written: set[Place] = set()
        self.touched = False
        self._open: deque[Place] = deque()
        self._finished: set[Place] = set()
        self._plain: list[Place] = []

    def open(self, place: Place) -> None:
        """An event is in flight; places rise."""
        self.cursor = place
        self._open.append(place)

    def whole(self, position: int) -> None:
        """Events were read up to here, each for all of its keys."""
        self.cursor = max(self.cursor, (position, _WHOLE))

    def opened(self) -> int:
        """How many are in flight, counting those that are done behind one that is not."""
        return len(self._open)

    def finish(self, place: Place, *, plain: bool) -> None:
        """An event is done; `plain` where it has no row of its own."""
        self.touched = True
        self._finished.add(place)
        if plain:
            self._plain.append(place)

    def low(self) -> int:
        """The position up to which everything is done or has a row."""
        while self._open and self._open[0] in self._finished:
            self._finished.discard(self._open.popleft())
        return self._open[0][0] - 1 if self._open else self.read_to()

    def read_to(self) -> int:
        """The position up to which its events were read, for every key."""
        position, index = self.cursor
        return position if index == _WHOLE else position - 1

    def settle(self, changes: "Changes") -> int:
        """Add the marks to write and to clear to `changes`; returns the new checkpoint."""
        low = self.low()
        self.touched = False
        plain, self._plain = self._plain, []
        for place in plain:
            if place[0] > low:
                _add(changes, self._mark(place).put())
                self.written.add(place)
        for place in [one for one in self.written if one[0] <= low]:
            _add(changes, self._mark(place).delete())
            self.written.discard(place)
        return low

    def _mark(self, place: Place) -> Item:
        return Item(self._function, *place, "", status=DONE, partition=self._partition)


class Board:
    """The marks of all partitions that are held."""

    def __init__(self, function: str) -> None:
        self._function = function
        self.parts: dict[int, Marks] = {}

    def join(self, partition: int, position: int) -> Marks:
        """A partition is held from now on, and done up to `position`."""
        marks = self.parts[partition] = Marks(self._function, position, partition)
        return marks

    def opened(self) -> int:
        """How many events are in flight in all partitions."""
        return sum(marks.opened() for marks in self.parts.values())

    def takes(self, partition: int, place: Place) -> bool:
        """Whether an event that was read is to be done now: held here, not read before, and without a row."""
        marks = self.parts.get(partition)
        if marks is None or place <= marks.cursor:
            return False
        if place in marks.known:
            marks.known.discard(place)
            marks.cursor = place
            return False
        return True

    def whole(self, partitions: Iterable[int], position: int) -> None:
        """An event was taken for all of its keys in these partitions."""
        for number in partitions:
            marks = self.parts.get(number)
            if marks is not None and marks.cursor[0] == position:
                marks.whole(position)

    def read(self, upto: int) -> None:
        """Every partition's events were read up to here."""
        for marks in self.parts.values():
            marks.whole(upto)

    def cursor(self) -> int:
        """Up to where the events of every partition were read."""
        return min((marks.read_to() for marks in self.parts.values()), default=0)

    def low(self) -> int:
        """The position up to which everything of every partition is done or has a row."""
        return min(self.lows().values(), default=0)

    def lows(self) -> dict[int, int]:
        """The same for each partition."""
        return {number: marks.low() for number, marks in self.parts.items()}


Changes = dict[tuple[str, RowKey], RowChange]


def _add(changes: Changes, change: RowChange) -> None:
    """A row's last change is the one that counts."""
    changes[change.table.name, change.key] = change


class Committer:
    """Writes whatever has come together since its last commit. `stored` is called after each."""

    def __init__(self, lease: Lease, board: Board, stored: Callable[[], None]) -> None:
        self._lease, self._board, self._stored = lease, board, stored
        self._changes: dict[tuple[str, RowKey], tuple[int, RowChange]] = {}
        self._answers: deque[Answer] = deque()
        self._dirty = asyncio.Event()
        self._flushing = self._closed = self._ended = False
        self._torn: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is still to be stored."""
        return self._dirty.is_set() or self._flushing

    def touch(self) -> None:
        """Something was finished: the checkpoint may rise."""
        self._dirty.set()

    def add(self, partition: int, change: RowChange) -> None:
        """Store a partition's change, with what was finished before it; nobody waits for it."""
        self._changes[change.table.name, change.key] = partition, change
        self._dirty.set()

    async def store(self, partition: int, changes: Callable[[], list[RowChange]], weight: int = 0) -> None:
        """Return when a partition's `changes` are stored, on condition that it is still held: else the caller is
        cancelled. They are asked for when their commit begins, together with their marks.

        `weight` is about how many bytes they have: heavy answers go into commits of their own.
        """
        await self.ask(partition, changes, weight)

    async def store_all(self, asked: Sequence[Change]) -> None:
        """As `store`, for several. Where whoever waits is cancelled they are stored all the same; `whole` waits."""
        futures = [self.ask(*change) for change in asked]
        try:
            await asyncio.gather(*futures)
        except asyncio.CancelledError:
            self._torn = self.ask(_NOBODY, list)
            raise

    async def whole(self) -> None:
        """Return when nothing is left to be stored of what nobody waits for any more: what comes next reads it."""
        while self._torn is not None and not self._torn.done():
            await asyncio.shield(self._torn)

    def ask(self, partition: int, changes: Callable[[], list[RowChange]], weight: int = 0) -> asyncio.Future[None]:
        """As `store`, to wait for later: they are stored even where whoever asked is cancelled at once."""
        if self._ended:
            raise asyncio.CancelledError
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers.append((partition, changes, weight, future))
        self._dirty.set()
        return future

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
                self._flushing = True
                self._dirty.clear()
                await self._flush()
                self._flushing = False
                self._stored()
        finally:
            self._ended = True
            for *_, future in self._answers:
                future.cancel()

    async def settle(self) -> None:
        """Return when everything that was finished before the call is stored."""
        await self.ask(_NOBODY, list)

    async def _flush(self) -> None:
        changes, written, waiting = self._gather()
        if self._answers:
            self._dirty.set()
        lease, lows = self._lease, {}
        for number, marks in self._board.parts.items():
            before, touched = len(changes), marks.touched
            low = lows[number] = marks.settle(changes)
            if len(changes) > before or (touched and low > lease.position(number)):
                written.add(number)
        written.update(lease.lagging(lows))
        if self._closed:  # the next owner goes on where this one has come
            written.update(one for one, low in lows.items() if low > lease.position(one))
        try:
            if written:
                await lease.commit(list(changes.values()), {one: lows[one] for one in written})
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _gather(self) -> tuple[Changes, set[int], list[asyncio.Future[None]]]:
        held, added = self._board.parts, self._changes
        self._changes = {}
        changes: Changes = {key: change for key, (number, change) in added.items() if number in held}
        written = {number for number, _ in added.values() if number in held}
        waiting: list[asyncio.Future[None]] = []
        room = limits.BATCH_BYTES // 2
        while self._answers and (room > 0 or not waiting):
            number, answer, weight, future = self._answers.popleft()
            if number != _NOBODY and number not in held:
                future.cancel()  # let go in the meantime: its next owner does it again
                continue
            room -= weight
            for change in answer():
                _add(changes, change)
            waiting.append(future)
            if number != _NOBODY:
                written.add(number)
        return changes, written, waiting
