"""Pages folded into rows: rows and checkpoint in one commit, so that each event counts exactly once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.errors import Corrupt, TooLarge, Undecodable
from foldlog.flow import inbox
from foldlog.flow.lease import Lease
from foldlog.flow.partition import partition_of
from foldlog.flow.stale import mark
from foldlog.flow.subscribe import Fed, Feed, Progress
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.model.message import Draft, Recorded
from foldlog.model.query import Query
from foldlog.ports.store import Delete, Put, RowChange, RowKey, Store

log = logging.getLogger("foldlog.project")


async def inline_changes(
    store: Store,
    views: Iterable[View],
    tenant: str,
    stream: str,
    version: int,
    events: Sequence[Any],
    drafts: Sequence[Draft],
) -> list[RowChange]:
    """The rows of inline views after `events`, guarded by their versions, for the commit that appends the events.

    A row that lags behind the stream (events imported, or older than the view) first takes what it has missed. An
    exception of the fold goes to the sender, and nothing is stored.
    """
    changes: list[RowChange] = []
    new_version = version + len(drafts)
    for view in views:
        types = view.takes.types
        wanted = [(number, event) for number, event in enumerate(events, version + 1) if type(event) in types]
        if not wanted:
            continue
        key = RowKey(tenant, stream.partition("-")[2])
        row = (await store.get(view.table, [key])).get(key)
        value, at = view.decode(row), row.position if row else 0
        fold = view.projection.fold
        while at < version:
            page = await store.read(Query(stream=stream, tenant=tenant), at, limits.PAGE_MAX)
            for missed in page.events:
                if view.concerns(missed) and missed.version <= version:
                    value = fold(value, missed.data)
            at = page.events[-1].version if page.more else version
        for _, event in wanted:
            value = fold(value, event)
        # A tombstone carries the version of the last event that it is made of: there the follower removes it.
        upto = wanted[-1][0] if value is None else new_version
        changes.append(view.change(key, value, upto, row.version if row else 0))
    return changes


class _Held:
    """A row between pages, as the only owner of its projection holds it."""

    __slots__ = ("position", "value", "version")

    def __init__(self, value: Any, position: int, version: int) -> None:
        self.value, self.position, self.version = value, position, version


class Project:
    """Folds the pages of one projection into the rows of the partitions that its lease holds; one page at a time.

    A fold that fails is logged at `level`.
    """

    def __init__(
        self, store: Store, view: View, clock: Clock, lease: Lease, progress: Progress, level: int = logging.ERROR
    ) -> None:
        self._store, self._view, self._clock, self._lease, self._progress = store, view, clock, lease, progress
        self._level, self._stale = level, dict[RowKey, Put]()
        self._told = -1
        self._held: dict[RowKey, _Held] = {}
        self._parked: set[RowKey] = set()
        self._letters: list[Put] = []
        self._touched: set[int] = set()
        self._worked = 0
        self._one = asyncio.Lock()
        self._turn = asyncio.Event()
        self.seen: dict[int, int] = {}
        """Up to where each partition has come, which may be further than its checkpoint says."""

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
                async for fed in feed(min(self.seen.values(), default=0), self._turn):
                    async with self._one:
                        if self._turn.is_set():
                            break  # read before a partition joined that has not come so far, or when all is over
                        await self.page(fed)
                    if shown is not None:
                        await shown(fed.upto)
                    self._tell()
        finally:
            stopping.cancel()

    async def join(self, partitions: Sequence[int]) -> None:
        """Work on partitions that the lease holds now, too; the log is read again from the lowest of them."""
        async with self._one:
            async for item in inbox.items(self._store, self._view.name, partitions):
                if item.key:  # an event whose key could not be told parks no row
                    self._parked.add(RowKey(item.tenant, item.key))
            self.seen.update((number, self._lease.position(number)) for number in partitions)
            self._turn.set()

    async def leave(self, partitions: Sequence[int]) -> dict[int, int]:
        """Work on these partitions no more; returns up to where each has come, for its next owner."""
        async with self._one:
            self._held.clear()
            self._parked = {key for key in self._parked if partition_of(*key) not in partitions}
            seen = {number: self.seen.pop(number) for number in partitions}
        self._progress.pulse()
        return seen

    def _tell(self) -> None:
        self._told = min(self.seen.values(), default=0)
        self._progress.advance(self._told)

    async def note(self) -> None:
        """Commit the checkpoints alone, up to where each partition has come. Errors: `Conflict`."""
        async with self._one:
            if late := {one: at for one, at in self.seen.items() if at > self._lease.position(one)}:
                await self._lease.commit([], late)

    async def page(self, fed: Fed) -> None:
        """Fold a page and commit its rows with their checkpoints. Errors: `Conflict` when a lease was lost."""
        if not fed.events:
            self._see(fed.upto)
            if lagging := self._lease.lagging(self.seen):
                await self._lease.commit([], {one: self.seen[one] for one in lagging})
            return
        parked = set(self._parked)
        try:
            await self._store_page(await self._changes(fed.events), fed.upto)
        except TooLarge as error:
            # More rows than one commit takes, and nothing was stored: half of the page, then the other half.
            self._parked = parked
            self._held.clear()
            await self._in_parts(fed, error)
        except BaseException:
            self._held.clear()
            raise

    async def _in_parts(self, fed: Fed, error: TooLarge) -> None:
        events, half = fed.events, len(fed.events) // 2
        if half:
            await self.page(Fed(events[:half], events[half - 1].position))
            await self.page(Fed(events[half:], fed.upto))
        else:
            self._letters, self._stale, self._worked = [], {}, 0
            place = min(self._touched)  # of the partitions that this event was too large for: the letter is theirs
            self._touched = {place}
            letter = self._park(self._row_of(events[0]), events[0], error, place)
            await self._store_page([letter, *self._stale.values()], fed.upto)

    async def _store_page(self, changes: list[RowChange], upto: int) -> None:
        seen = {one: max(at, upto) for one, at in self.seen.items()}
        if written := self._touched.union(self._lease.lagging(seen)):
            await self._lease.commit(changes, {one: seen[one] for one in written})
        self.seen = seen
        self._progress.done += self._worked

    def _see(self, upto: int) -> None:
        self.seen = {one: max(at, upto) for one, at in self.seen.items()}

    async def _changes(self, events: Sequence[Recorded[Any]]) -> list[RowChange]:
        self._letters, self._stale = [], {}
        self._touched = set()
        work = self._addressed(events)
        await self._fetch(work)
        changes: dict[RowKey, RowChange] = {}
        dirty: dict[RowKey, tuple[Recorded[Any], int]] = {}
        view, held = self._view, self._held
        fold, recorded, inline = view.projection.fold, view.takes.recorded, view.inline
        for key, event, data, place, fault in work:
            if key in self._parked:
                continue
            if fault is not None:
                self._letters.append(self._park(key, event, fault, place))
                continue
            row = held[key]
            if inline and row.position >= event.version:
                if row.value is None and row.version and row.position == event.version:
                    changes[key] = Delete(view.table, key, row.version)
                    self._touched.add(place)
                continue
            try:
                row.value = fold(row.value, event if recorded else data)
            except Exception as error:
                self._letters.append(self._park(key, event, error, place))
                continue
            row.position = event.version if inline else event.position
            dirty[key] = event, place
        for key, (event, place) in dirty.items():
            row = held[key]
            self._touched.add(place)
            try:
                changes[key] = view.change(key, row.value, row.position, row.version if inline else None)
            except Exception as error:
                if key not in self._parked:
                    self._letters.append(self._park(key, event, error, place))
                continue
            row.version += 1
        self._worked = self._right(work)
        self._forget_some()
        return [*changes.values(), *self._letters, *self._stale.values()]

    def _right(self, work: Sequence["_Work"]) -> int:
        """How much of it went right."""
        if not (self._letters or self._parked):
            return len(work)
        return sum([not (one.fault or one.key in self._parked) for one in work])

    def _addressed(self, events: Sequence[Recorded[Any]]) -> list["_Work"]:
        """What there is to fold, in order; not what is another owner's, or was seen before."""
        return self._by_stream(events) if self._view.projection.key is None else self._by_key(events)

    def _by_stream(self, events: Sequence[Recorded[Any]]) -> list["_Work"]:
        work: list[_Work] = []
        seen, decoded = self.seen, not self._view.takes.recorded
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
        view, seen = self._view, self.seen
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
                    self._letters.append(self._park(key, event, error, place))
                continue
            self._held[key] = _Held(value, row.position if row else 0, row.version if row else 0)

    def _park(self, key: RowKey, event: Recorded[Any], error: Exception, place: int) -> Put:
        if key.key:
            self._parked.add(key)
        self._touched.add(place)
        self._progress.failed += 1
        index = sum(letter.position == event.position for letter in self._letters)
        row_mark = mark(self._view.name, key, event.position)
        self._stale[row_mark.key] = row_mark
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
        return inbox.Item(
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
