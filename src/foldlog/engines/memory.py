"""The store in memory: the smallest engine, the reference of the contract and the oracle of the tests.

The log is a list of events, and for each question that a query can ask a sorted list of positions. A table is a
dictionary of rows, and for the key and each index a sorted list of places. A commit checks every condition, then
writes; it never awaits in between, so that no other task sees half of it. Nothing outlives the process.
"""

import asyncio
import secrets
import time
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from foldlog import limits
from foldlog.engines.batch import (
    check_batch,
    check_keys,
    check_range,
    check_read,
    condition_conflict,
    order_key,
    row_conflict,
    row_holds,
    stream_conflict,
    version_holds,
)
from foldlog.errors import Unavailable
from foldlog.model.message import Draft, Kind, KindFactory, Recorded
from foldlog.model.query import Query
from foldlog.model.stream import split_stream
from foldlog.ports.store import (
    Append,
    Appended,
    Batch,
    Capabilities,
    Delete,
    Identity,
    Page,
    Put,
    Range,
    Row,
    RowChange,
    RowKey,
    Rows,
    Table,
)

_PURGE = 2  # expired rows removed for each row changed
_Place = tuple[tuple[int, Any], str]  # (order of the key or index value, key)


def _micros() -> int:
    return time.time_ns() // 1000


class MemoryStore:
    """A store that forgets everything with the process; for tests and trials. Used from one event loop.

    `kinds` makes the Kind of each sort of event; `start` is the position before the first one, as in a log that was
    moved; `now` is the clock in microseconds since 1970, which may jump: what is recorded never goes back.
    """

    def __init__(self, kinds: KindFactory = Kind, *, start: int = 0, now: Callable[[], int] = _micros) -> None:
        self.capabilities = Capabilities(tags=True, order=True, batch_streams=limits.BATCH_STREAMS, durable=False)
        self.identity = Identity(secrets.token_hex(16), 1)
        self._log = _Log(kinds, start, self.identity.log)
        self._tables: dict[str, _Table] = {}
        self._now, self._latest = now, 0
        self._is_open = False
        self._committed, self._appended = asyncio.Event(), asyncio.Event()

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        self._wake(longer=True)

    async def commit(self, batch: Batch) -> list[Appended]:
        now = self._time()
        check_batch(batch)
        for append in batch.appends:
            self._log.check(append)
        for change in batch.rows:
            self._table(change.table).check(change, now)
        self._latest = max(self._latest, now)
        appended = [self._log.append(append, self._latest) for append in batch.appends]
        for change in batch.rows:
            self._table(change.table).change(change, now)
        for change in batch.rows:
            self._table(change.table).purge(now)
        self._wake(longer=bool(appended))
        return appended

    async def read(self, query: Query, after: int = 0, limit: int = 1_000, *, backward: bool = False) -> Page:
        self._time()
        check_read(after, limit)
        events: list[Recorded[Any]] = []
        size = 0
        for event in self._log.matching(query, after, backward=backward):
            size += len(event.body) + len(event.raw_meta)
            if len(events) == limit or (events and size > limits.PAGE_BYTES):
                return Page(events, more=True, head=self._log.head)
            events.append(event)
        return Page(events, more=False, head=self._log.head)

    async def head(self) -> int:
        self._time()
        return self._log.head

    async def wait(self, after: int | None, timeout: float) -> None:
        self._time()
        if after is None or self._log.head <= after:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await (self._committed if after is None else self._appended).wait()

    async def get(self, table: Table, keys: Sequence[RowKey]) -> dict[RowKey, Row]:
        now = self._time()
        check_keys(table, keys)
        found = self._table(table)
        return {key: found.rows[key] for key in keys if found.version(key, now)}

    async def scan(self, table: Table, range: Range) -> Rows:
        now = self._time()
        check_range(table, range)
        return self._table(table).scan(range, now)

    async def drop(self, table: Table) -> None:
        self._time()
        self._tables.pop(table.name, None)

    def _time(self) -> int:
        """The store's clock, which may jump; every method begins here, so a closed store refuses here."""
        if not self._is_open:
            raise Unavailable("the store is closed")
        return self._now()

    def _table(self, table: Table) -> "_Table":
        if table.name not in self._tables:
            self._tables[table.name] = _Table(table)
        return self._tables[table.name]

    def _wake(self, *, longer: bool) -> None:
        # Those who wait hold these events, those who come later wait for the next ones.
        self._committed.set()
        self._committed = asyncio.Event()
        if longer:
            self._appended.set()
            self._appended = asyncio.Event()


class _Log:
    """The events by position, and for each question that a query asks the positions of those that may match."""

    def __init__(self, kinds: KindFactory, start: int, log: str) -> None:
        self._make_kind, self._start, self._log = kinds, start, log
        self._kinds: dict[tuple[str, str, int, str], Kind] = {}
        self._events: list[Recorded[Any]] = []
        self._tags: dict[int, frozenset[str]] = {}
        self._streams: dict[tuple[str, str], list[Recorded[Any]]] = {}
        self._of_category: dict[str, list[int]] = defaultdict(list)
        self._of_type: dict[str, list[int]] = defaultdict(list)
        self._of_tag: dict[tuple[str, str], list[int]] = defaultdict(list)

    @property
    def head(self) -> int:
        return self._events[-1].position if self._events else 0

    def check(self, append: Append) -> None:
        """The append's conditions hold, or `Conflict`."""
        actual = len(self._streams.get((append.tenant, append.stream), ()))
        if not version_holds(append.expected, actual):
            raise stream_conflict(append, actual)
        if append.condition is not None:
            new = next(self.matching(append.condition.query, append.condition.after), None)
            if new is not None:
                raise condition_conflict(append.condition, new.position)

    def append(self, append: Append, now: int) -> Appended:
        tenant, stream = append.tenant, append.stream
        category, _ = split_stream(stream)
        events = self._streams.setdefault((tenant, stream), [])
        for draft in append.drafts:
            position = self._start + len(self._events) + 1
            kind = self._kind(category, draft)
            event: Recorded[Any] = Recorded(
                position, tenant, stream, len(events) + 1, kind, now, draft.meta, draft.body, self._log
            )
            self._events.append(event)
            events.append(event)
            self._of_category[category].append(position)
            self._of_type[draft.type].append(position)
            if draft.tags:
                self._tags[position] = frozenset(draft.tags)
                for tag in self._tags[position]:
                    self._of_tag[tenant, tag].append(position)
        return Appended(len(events), self.head, now)

    def matching(self, query: Query, after: int, *, backward: bool = False) -> Iterator[Recorded[Any]]:
        """The events that match, in order, behind `after`; a stream's are numbered by version, others by position."""
        events, first = self._events, self._start + 1
        candidates = self._candidates(query)
        if query.stream is not None:
            events, first = self._streams.get((query.tenant or "", query.stream), []), 1
            candidates = [range(1, len(events) + 1)]
        parts = [_beyond(numbers, after, backward=backward) for numbers in candidates]
        for number, _ in groupby(merge(*parts, reverse=backward)):
            if self._matches(query, events[number - first]):
                yield events[number - first]

    def _candidates(self, query: Query) -> list[Sequence[int]]:
        """Sorted positions: every event that matches stands in one of these lists, others may."""
        if query.tags:
            of_tags = [self._of_tag.get((query.tenant or "", tag), []) for tag in query.tags]
            return [min(of_tags, key=len)]
        if query.any_of:
            return [numbers for side in query.any_of for numbers in self._candidates(side)]
        if query.types:
            return [self._of_type.get(name, []) for name in query.types]
        if query.category is not None:
            return [self._of_category.get(query.category, [])]
        return [range(self._start + 1, self._start + len(self._events) + 1)]

    def _matches(self, query: Query, event: Recorded[Any]) -> bool:
        return (
            (query.tenant is None or event.tenant == query.tenant)
            and (query.stream is None or event.stream == query.stream)
            and (query.category is None or event.category == query.category)
            and (not query.types or event.type in query.types)
            and (not query.tags or self._tags.get(event.position, frozenset()).issuperset(query.tags))
            and (query.since is None or query.since <= event.recorded)
            and (query.until is None or event.recorded <= query.until)
            and (not query.any_of or any(self._matches(side, event) for side in query.any_of))
        )

    def _kind(self, category: str, draft: Draft) -> Kind:
        said = category, draft.type, draft.schema, draft.encoding
        if said not in self._kinds:
            self._kinds[said] = self._make_kind(*said)
        return self._kinds[said]


def _beyond(numbers: Sequence[int], after: int, *, backward: bool) -> Iterator[int]:
    """The numbers behind `after`, upward; or those before it (0: all), downward."""
    if backward:
        end = bisect_left(numbers, after) if after else len(numbers)
        return (numbers[i] for i in range(end - 1, -1, -1))
    return (numbers[i] for i in range(bisect_right(numbers, after), len(numbers)))


class _Table:
    """Rows by key, and for each tenant their places in the order of the key (index None) and of every index."""

    def __init__(self, table: Table) -> None:
        self._indexes = table.indexes
        self.rows: dict[RowKey, Row] = {}
        self._places: dict[tuple[str, str | None], list[_Place]] = defaultdict(list)
        self._expires: dict[RowKey, int] = {}
        self._expiring: list[tuple[int, RowKey]] = []

    def check(self, change: RowChange, now: int) -> None:
        """The row has the version that the change wants, or `Conflict`."""
        actual = self.version(change.key, now)
        if not row_holds(change.if_version, actual):
            raise row_conflict(change, actual)

    def change(self, change: RowChange, now: int) -> None:
        if isinstance(change, Put):
            version = self.version(change.key, now) + 1
            row = Row(change.key, change.value, version, change.position, tuple(change.index))
            self._remove(change.key)
            self._insert(row, change.expires)
        elif isinstance(change, Delete):
            self._remove(change.key)

    def purge(self, now: int) -> None:
        """Remove a few rows past their time, so that a table shrinks again."""
        for _, key in [one for one in self._expiring[:_PURGE] if one[0] <= now]:
            self._remove(key)

    def scan(self, range: Range, now: int) -> Rows:
        places = self._places.get((range.tenant, range.index), [])
        if self._expires:
            places = [place for place in places if self.version(RowKey(range.tenant, place[1]), now)]
        start, stop = 0, len(places)
        if range.low is not None:
            start = bisect_left(places, order_key(range.low), key=itemgetter(0))
        elif range.high is not None:
            start = bisect_right(places, order_key(None), key=itemgetter(0))
        if range.high is not None:
            stop = bisect_right(places, order_key(range.high), key=itemgetter(0))
        if range.after is not None and range.backward:
            stop = min(stop, bisect_left(places, self._place(range.after, range.index)))
        elif range.after is not None:
            start = max(start, bisect_right(places, self._place(range.after, range.index)))
        more = stop - start > range.limit
        if range.backward:
            found = places[max(start, stop - range.limit) : stop][::-1]
        else:
            found = places[start : min(stop, start + range.limit)]
        return Rows([self.rows[RowKey(range.tenant, key)] for _, key in found], more)

    def version(self, key: RowKey, now: int) -> int:
        """The row's version; 0 where it is absent or past its time."""
        expires = self._expires.get(key)
        return self.rows[key].version if key in self.rows and (expires is None or expires > now) else 0

    def _insert(self, row: Row, expires: int | None) -> None:
        self.rows[row.key] = row
        for index in (None, *self._indexes):
            insort(self._places[row.key.tenant, index], self._place(row, index))
        if expires is not None:
            self._expires[row.key] = expires
            insort(self._expiring, (expires, row.key))

    def _remove(self, key: RowKey) -> None:
        row = self.rows.pop(key, None)
        if row is None:
            return
        for index in (None, *self._indexes):
            places = self._places[key.tenant, index]
            del places[bisect_left(places, self._place(row, index))]
        expires = self._expires.pop(key, None)
        if expires is not None:
            del self._expiring[bisect_left(self._expiring, (expires, key))]

    def _place(self, row: Row, index: str | None) -> _Place:
        value = row.key.key if index is None else row.index[self._indexes.index(index)]
        return order_key(value), row.key.key
