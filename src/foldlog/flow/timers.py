"""Timers of processes: a row each, found by when it is due; one that rings appends its event as its row is deleted.

Only the owner of a partition writes timers of it, so it knows when the next one is due without looking: a million that
are not due cost nothing. That each rings once is the row's own doing: whoever deletes it first has appended.
"""

import asyncio
from collections.abc import Iterable

import msgspec

from foldlog import limits
from foldlog.errors import Conflict
from foldlog.flow.subscribe import either
from foldlog.model.clock import Clock
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.model.stream import ANY
from foldlog.ports.store import Append, Batch, Delete, Put, Range, Row, RowKey, Store, Table

TIMERS = Table("timers", indexes=("due",))
_NEVER = 2**63 - 1


class Alarm(msgspec.Struct, frozen=True, omit_defaults=True):
    """A timer at rest: whose it is, when it is due (microseconds since 1970), and the event that it appends.

    `id` is the id of the command that the event is appended by, as it were; `causation` the id of the event that the
    timer was set for.
    """

    function: str
    partition: int
    id: str
    name: str
    due: int
    stream: str
    type: str
    schema: int
    body: msgspec.Raw
    tenant: str = ""
    tags: tuple[str, ...] = ()
    correlation: str = ""
    causation: str = ""
    actor: str = ""

    def put(self) -> Put:
        """The row that keeps it."""
        index = f"{self.function}/{self.partition:02d}/{self.due:020d}"
        return Put(TIMERS, alarm_key(self.function, self.partition, self.id), msgspec.json.encode(self), index=(index,))

    def append(self) -> Append:
        """What it does when it is due."""
        meta = Meta(self.id, 0, self.correlation, self.causation, self.actor, tags=self.tags)
        draft = Draft(self.type, self.schema, bytes(self.body), encode_meta(meta), self.tags)
        return Append(self.stream, (draft,), ANY, self.tenant)


def alarm_key(function: str, partition: int, id: str) -> RowKey:
    """Where a timer stands."""
    return RowKey("", f"{function}/{partition:02d}/{id}")


def _due(function: str, partition: int, until: int, limit: int) -> Range:
    place = f"{function}/{partition:02d}/"
    return Range(index="due", low=place, high=f"{place}{until:020d}", limit=limit)


async def next_due(store: Store, function: str, partition: int) -> int:
    """When a partition's next timer is due; far away where there is none."""
    rows, _ = await store.scan(TIMERS, _due(function, partition, _NEVER, 1))
    return decode(rows[0]).due if rows else _NEVER


def decode(row: Row) -> Alarm:
    """The timer in a row."""
    return msgspec.json.decode(row.value, type=Alarm)


class Timers:
    """The timers of the partitions that one owner of a process holds."""

    def __init__(self, store: Store, clock: Clock, function: str) -> None:
        self._store, self._clock, self._function = store, clock, function
        self._next: dict[int, int] = {}
        self._earlier = asyncio.Event()
        self._ringing = False

    @property
    def idle(self) -> bool:
        """Whether nothing that is due has yet to ring."""
        return not self._ringing and all(at > self._clock.now() for at in self._next.values())

    async def join(self, partitions: Iterable[int]) -> None:
        """Look after the timers of these partitions, too."""
        for number in partitions:
            self._next[number] = _NEVER
            self.note(number, await next_due(self._store, self._function, number))

    def leave(self, partitions: Iterable[int]) -> None:
        """Look after the timers of these partitions no more."""
        for number in partitions:
            self._next.pop(number, None)

    def note(self, partition: int, due: int) -> None:
        """A timer was stored."""
        if partition in self._next and due < self._next[partition]:
            self._next[partition] = due
            self._earlier.set()

    async def run(self) -> None:
        """Ring what is due, when it is due, until cancelled. Errors: `Unavailable`, `Corrupt`."""
        while True:
            self._earlier.clear()
            now = self._clock.now()
            due = [number for number, at in self._next.items() if at <= now]
            self._ringing = bool(due)
            for number in due:
                await self._ring(number, now)
            self._ringing = False
            if due:
                continue
            at = min(self._next.values(), default=_NEVER)
            if at == _NEVER:
                await self._earlier.wait()
            else:
                await either(self._clock.until(at), self._earlier.wait())

    async def _ring(self, partition: int, now: int) -> None:
        if partition not in self._next:
            return  # let go meanwhile
        self._next[partition] = _NEVER  # what is noted from now on is not overlooked
        rows, more = await self._store.scan(TIMERS, _due(self._function, partition, now, limits.RINGING))
        await asyncio.gather(*[self._append(row) for row in rows])
        self.note(partition, now if more else await next_due(self._store, self._function, partition))

    async def _append(self, row: Row) -> None:
        try:
            await self._store.commit(Batch((decode(row).append(),), (Delete(TIMERS, row.key, row.version),)))
        except Conflict as conflict:
            if not conflict.row:
                raise  # it was cancelled or moved in the same moment, or another owner was faster: else this is new
