"""Pages folded into rows: rows and checkpoint in one commit, so that each event counts exactly once."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.errors import Corrupt, TooLarge, Undecodable
from foldlog.flow import inbox
from foldlog.flow.lease import Lease
from foldlog.flow.monotonic import monotonic
from foldlog.flow.partition import ALL, partition_of
from foldlog.flow.stale import mark
from foldlog.flow.subscribe import Fed, Feed, Progress
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.model.message import Recorded
from foldlog.ports.store import Delete, Put, RowChange, RowKey, Store

log = logging.getLogger("foldlog.project")


class _Held:
    """A row between pages, as the only owner of its projection holds it."""

    __slots__ = ("position", "value", "version")

    def __init__(self, value: Any, position: int, version: int) -> None:
        self.value, self.position, self.version = value, position, version


class _Unstored:
    """What is folded of one partition and not stored yet."""

    __slots__ = ("done", "gone", "letters", "parked", "rows", "stale")

    def __init__(self) -> None:
        self.rows: dict[RowKey, Recorded[Any]] = {}  # with the last event that went into each
        self.gone: dict[RowKey, Delete] = {}  # tombstones that have served
        self.letters: list[Put] = []
        self.stale: dict[RowKey, Put] = {}
        self.parked: set[RowKey] = set()
        self.done = 0  # as `Progress` counts it

    def __len__(self) -> int:
        return len(self.rows) + len(self.gone) + len(self.letters)


class Project:
    """Folds the pages of one projection into the rows of the partitions that its lease holds; one page at a time.

    A fold that fails is logged at `level`.
    """

    def __init__(
        self, store: Store, view: View, clock: Clock, lease: Lease, progress: Progress, level: int = logging.ERROR
    ) -> None:
        self._store, self._view, self._clock, self._lease, self._progress = store, view, clock, lease, progress
        self._level = level
        self._told = -1
        self._held: dict[RowKey, _Held] = {}
        self._parked: set[RowKey] = set()
        self._unstored = {place: _Unstored() for place in ALL}
        self._folded: dict[int, int] = {}
        self._one = asyncio.Lock()
        self._turn = asyncio.Event()
        self.keeps = not view.inline  # the senders write inline rows too: what is kept of them may be out of date
        """Whether what is folded may wait to be stored with more."""
        self.seen: dict[int, int] = {}
        """Up to where each partition's rows are stored, which may be further than its checkpoint says."""
        self.held = 0.0
        """Seconds for which nothing else ran in this process while the last page was folded."""

    @property
    def waiting(self) -> int:
        """Rows and letters that are folded and not stored yet."""
        return sum([len(one) for one in self._unstored.values()])

    def settled(self, head: int) -> bool:
        """Whether everything up to `head` is folded."""
        return min(self.seen.values(), default=-1) >= head <= self._told

    async def run(self, feed: Feed, stop: asyncio.Event, shown: Callable[[int], Awaitable[None]] | None = None) -> None:
        """Fold pages until `stop`; `shown` is called after each, with its position, before anybody else hears of it.

        Errors: `Conflict` when a lease was lost, `Unavailable`, `Corrupt`.
        """
        await self.join(self._lease.held)
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: self._turn.set())
        try:
            while not stop.is_set():
                self._turn.clear()
                async for fed in feed(min(self._folded.values(), default=0), self._turn):
                    async with self._one:
                        if self._turn.is_set():
                            break  # read before a partition joined that has not come so far, or when all is over
                        await self.page(fed)
                    kept = fed.kept and self.keeps
                    if shown is not None and not kept:
                        await shown(fed.upto)
                    self._tell(kept=kept)
        finally:
            stopping.cancel()

    async def join(self, partitions: Sequence[int]) -> None:
        """Work on partitions that the lease holds now, too; the log is read again from the lowest of them."""
        async with self._one:
            async for item in inbox.items(self._store, self._view.name, partitions):
                if item.key:  # an event whose key could not be told parks no row
                    self._parked.add(RowKey(item.tenant, item.key))
            self.seen.update((number, self._lease.position(number)) for number in partitions)
            self._folded.update((number, self.seen[number]) for number in partitions)
            self._turn.set()

    async def leave(self, partitions: Sequence[int]) -> dict[int, int]:
        """Store what is kept of these partitions and work on them no more; returns up to where each has come, for its
        next owner. Errors: `Conflict` when a lease was lost."""
        async with self._one:
            for number in partitions:
                await self._store_one(number)
            self._parked = {key for key in self._parked if partition_of(*key) not in partitions}
            seen = {number: self.seen.pop(number) for number in partitions}
            self._folded = {number: at for number, at in self._folded.items() if number in self.seen}
            self._held = {key: self._held[key] for one in self._unstored.values() for key in one.rows}
        self._progress.pulse()
        return seen

    def _tell(self, *, kept: bool) -> None:
        low = min(self.seen.values(), default=0)
        if not kept:  # else it is not settled before what comes last has been shown
            self._told = low
        self._progress.folded = min(self._folded.values(), default=0)
        self._progress.advance(low)

    async def note(self) -> None:
        """Commit the checkpoints alone, up to where each partition has come. Errors: `Conflict`."""
        async with self._one:
            if late := {one: at for one, at in self.seen.items() if at > self._lease.position(one)}:
                await self._lease.commit([], late)

    async def page(self, fed: Fed) -> None:
        """Fold a page and, unless it may be kept, commit its rows with their checkpoints. Errors: `Conflict` when a
        lease was lost."""
        alone = not self.waiting
        try:
            await self._fold(fed.events)
            self._see(fed.upto)
            if not (fed.kept and self.keeps):
                await self._commit(self._folded)
            elif late := self._lease.lagging(self.seen):
                await self._lease.commit([], {one: self.seen[one] for one in late})
        except TooLarge as error:
            if alone:
                await self._in_parts(fed, error)
            else:
                self._keep_no_more()
        except BaseException:
            self._drop()
            raise

    async def store(self, partition: int) -> int:
        """Store what is kept of a partition, with its checkpoint; returns how much it was. One that was let go has
        nothing. Errors: `Conflict` when its lease was lost."""
        async with self._one:
            return await self._store_one(partition)

    async def _store_one(self, partition: int) -> int:
        count = len(self._unstored[partition])
        try:
            await self._commit({one: at for one, at in self._folded.items() if one == partition})
        except TooLarge:
            self._keep_no_more()
        except BaseException:
            self._again()
            raise
        return count

    async def _commit(self, positions: Mapping[int, int]) -> None:
        """Commit what is kept of some partitions, and the checkpoints of all for which that is due."""
        changes = [change for place in positions for change in self._changes(self._unstored[place])]
        stored = {**self.seen, **positions}
        if written := {one for one in positions if self._unstored[one]}.union(self._lease.lagging(stored)):
            await self._lease.commit(changes, {place: stored[place] for place in written})
        self.seen.update(positions)
        self._progress.done += sum([self._unstored[place].done for place in positions])
        self._unstored.update((place, _Unstored()) for place in positions)
        if not self.waiting:
            self._forget_some()

    def _see(self, upto: int) -> None:
        self._folded = {one: max(at, upto) for one, at in self._folded.items()}

    def _drop(self) -> None:
        """Whatever is folded and not stored will be folded again."""
        self._held.clear()
        self._parked = self._parked.difference(*(one.parked for one in self._unstored.values()))
        self._unstored = {place: _Unstored() for place in ALL}
        self._folded = dict(self.seen)

    def _again(self) -> None:
        self._drop()
        self._turn.set()

    def _keep_no_more(self) -> None:
        """One commit does not take what is kept: from now on each page is stored, and halved where that is too much."""
        self.keeps = False
        self._again()

    async def _in_parts(self, fed: Fed, error: TooLarge) -> None:
        """More rows than one commit takes, and nothing was stored: half of the page, then the other half."""
        events, half = fed.events, len(fed.events) // 2
        # Of the partitions that an event was too large for: a single one's letter is theirs.
        place = next(one for one, unstored in self._unstored.items() if unstored)
        self._drop()
        if half:
            await self.page(Fed(events[:half], events[half - 1].position))
            await self.page(Fed(events[half:], fed.upto))
        else:
            self._park(self._row_of(events[0]), events[0], error, place)
            self._see(fed.upto)
            await self._commit(self._folded)

    async def _fold(self, events: Sequence[Recorded[Any]]) -> None:
        began = monotonic()
        work = self._addressed(events)
        self.held = monotonic() - began
        await self._fetch(work)
        began = monotonic()
        self._fold_all(work)
        self.held += monotonic() - began

    def _fold_all(self, work: Sequence["_Work"]) -> None:
        view, held, parked, unstored = self._view, self._held, self._parked, self._unstored
        rows = {place: one.rows for place, one in unstored.items()}
        fold, recorded, inline = view.projection.fold, view.takes.recorded, view.inline
        done = Counter([one.place for one in work])
        for key, event, data, place, fault in work:
            if key in parked:
                done[place] -= 1
                continue
            if fault is not None:
                self._park(key, event, fault, place)
                done[place] -= 1
                continue
            row = held[key]
            if inline and row.position >= event.version:
                if row.value is None and row.version and row.position == event.version:
                    unstored[place].gone[key] = Delete(view.table, key, row.version)
                continue
            try:
                row.value = fold(row.value, event if recorded else data)
            except Exception as error:
                self._park(key, event, error, place)
                done[place] -= 1
                continue
            row.position = event.version if inline else event.position
            rows[place][key] = event
        for place, count in done.items():
            unstored[place].done += count

    def _changes(self, unstored: _Unstored) -> list[RowChange]:
        view, held = self._view, self._held
        changes: dict[RowKey, RowChange] = {**unstored.gone}
        for key, event in unstored.rows.items():
            row = held[key]
            try:
                changes[key] = view.change(key, row.value, row.position, row.version if view.inline else None)
            except Exception as error:
                if key not in self._parked:
                    self._park(key, event, error, partition_of(*key))
                    unstored.done -= 1
        return [*changes.values(), *unstored.letters, *unstored.stale.values()]

    def _addressed(self, events: Sequence[Recorded[Any]]) -> list["_Work"]:
        """What there is to fold, in order; not what is another owner's, or was seen before."""
        return self._by_stream(events) if self._view.projection.key is None else self._by_key(events)

    def _by_stream(self, events: Sequence[Recorded[Any]]) -> list["_Work"]:
        work: list[_Work] = []
        seen, decoded = self._folded, not self._view.takes.recorded
        for event in events:
            key = RowKey(event.tenant, event.key)
            place = partition_of(*key)
            if event.position <= seen.get(place, _PAST):
                continue
            try:
                data = event.kind.decode(event.body) if decoded else None
            except Exception as error:
                # Parked in its turn: what came before it still counts.
                work.append(_Work(key, event, None, place, _no_corruption(error)))
                continue
            work.append(_Work(key, event, data, place))
        return work

    def _by_key(self, events: Sequence[Recorded[Any]]) -> list["_Work"]:
        work: list[_Work] = []
        view, seen = self._view, self._folded
        decoded = not (view.takes.recorded and view.by_envelope)
        for event in events:
            data, fault = None, None
            try:
                data = event.kind.decode(event.body) if decoded else None
                keys = view.keys(event, data)
            except Exception as error:
                keys, fault = [self._row_of(event)], _no_corruption(error)
            for key in keys:
                place = partition_of(*key)
                if event.position > seen.get(place, _PAST):
                    work.append(_Work(key, event, data, place, fault))
        return work

    def _row_of(self, event: Recorded[Any]) -> RowKey:
        """The row of an event, or, where only `key` could tell, a key that no row has: any row may be stale then."""
        return RowKey(event.tenant, event.key if self._view.projection.key is None else "")

    async def _fetch(self, work: Sequence["_Work"]) -> None:
        if self._view.inline:
            self._held.clear()  # the senders write these rows too
        missing = {
            one.key: (one.event, one.place) for one in reversed(work) if one.fault is None and one.key not in self._held
        }
        found = await self._store.get(self._view.table, list(missing)) if missing else {}
        for key, (event, place) in missing.items():
            row = found.get(key)
            try:
                value = self._view.decode(row)
            except Undecodable as error:
                if key not in self._parked:
                    self._park(key, event, error, place)
                continue
            self._held[key] = _Held(value, row.position if row else 0, row.version if row else 0)

    def _park(self, key: RowKey, event: Recorded[Any], error: Exception, place: int) -> None:
        unstored = self._unstored[place]
        if key.key:
            self._parked.add(key)
            unstored.parked.add(key)
        self._progress.failed += 1
        index = sum(letter.position == event.position for letter in unstored.letters)
        row_mark = mark(self._view.name, key, event.position)
        unstored.stale[row_mark.key] = row_mark
        log.log(
            self._level,
            "%s failed on %s@%d: %r; its row %r is parked, and stale until the projection gets a new version",
            self._view.name,
            event.stream,
            event.version,
            error,
            key.key,
            extra={"function": self._view.name, "key": key.key, "position": event.position, "error": repr(error)},
        )
        letter = inbox.Item(
            self._view.name,
            event.position,
            index,
            key.key,
            key.tenant,
            event.stream,
            event.version,
            event.type,
            inbox.DEAD,
            1,
            failed=self._clock.now(),
            error=inbox.told(error),
            correlation=event.meta.correlation,
            event_id=event.id,
            partition=place,
        ).put()
        unstored.letters.append(letter)

    def _forget_some(self) -> None:
        if len(self._held) > limits.ROW_CACHE:
            for key in list(self._held)[: len(self._held) - limits.ROW_CACHE // 2]:
                del self._held[key]


_PAST = 2**63
"""Behind every position: where a partition that is not held here has come to."""


def _no_corruption(error: Exception) -> Exception:
    """An event's own fault, to be parked. Errors: what is the log's fault is raised."""
    if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
        raise error
    return error


class _Work(NamedTuple):
    key: RowKey
    event: Recorded[Any]
    data: Any
    place: int
    fault: Exception | None = None
