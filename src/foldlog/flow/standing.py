"""How each function stands, as anybody may read it: how far behind, what waits, who runs it and how it does there.

All of it is read in bounded pages, so that it costs the same on a log of millions, and beside a backlog of thousands.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Corrupt, Undecodable
from foldlog.flow import inbox
from foldlog.flow.effect import Effect
from foldlog.flow.fork import first
from foldlog.flow.lease import Checkpoint, checkpoints
from foldlog.flow.members import Member, Vitals, members
from foldlog.flow.partition import ALL, partition_of
from foldlog.flow.view import View
from foldlog.model.message import Recorded
from foldlog.ports.store import Range, Row, Store


class Count(NamedTuple):
    """A number, and whether there is, or may be, more: then counting ended at a limit."""

    number: int
    more: bool = False


class Lag(NamedTuple):
    """How many events that concern a function its partitions have not passed, and the age of the first in seconds; 0
    where there is none."""

    events: Count
    seconds: float


class Process(NamedTuple):
    """One that holds partitions of a function, or runs it: then with its vitals, as of its last heartbeat. `stopped`
    says why it runs it no more."""

    owner: str
    partitions: int
    vitals: Vitals | None
    stopped: str = ""


class Standing(NamedTuple):
    """One function. `position` is its lowest checkpoint, None before it first ran; `lag` None where this code does not
    know its events; `free` how many of its partitions nobody holds."""

    function: str
    position: int | None
    lag: Lag | None
    backlog: Count
    dead: Count
    processes: list[Process]
    free: int


async def standings(store: Store, functions: Iterable[View | Effect], now: int) -> list[Standing]:
    """Of these functions, and of those that only other code knows and that are at work; `now` is microseconds since
    1970."""
    running = await members(store, now)
    known: dict[str, View | Effect | None] = {one.name: one for one in functions}
    told = {name for one in running.values() for name in (*one.functions, *one.stopped)}
    known.update(dict.fromkeys(sorted(told - known.keys())))
    return [await _standing(store, name, one, running, now) for name, one in known.items()]


async def _standing(
    store: Store, name: str, function: View | Effect | None, running: Mapping[str, Member], now: int
) -> Standing:
    held = await checkpoints(store, name)
    holders = Counter(one.owner for one in held.values() if one.owner and one.until > now)
    vitals = {owner: found for owner, member in running.items() if (found := member.vitals_of(name)) is not None}
    stopped = {owner: member.stopped[name] for owner, member in running.items() if name in member.stopped}
    return Standing(
        name,
        min((one.position for one in held.values()), default=None),
        await _lag(store, function, held, now) if function is not None else None,
        await _count(store, Range(low=f"{name}/", high=f"{name}/~", limit=limits.PAGE), _waits),
        await _count(store, Range(index="dead", low=f"{name}/", high=f"{name}/~", limit=limits.PAGE), lambda _: True),
        [
            Process(owner, holders[owner], vitals.get(owner), stopped.get(owner, ""))
            for owner in sorted({*holders, *vitals, *stopped})
        ],
        len(ALL) - holders.total(),
    )


async def _lag(store: Store, function: View | Effect, held: Mapping[int, Checkpoint], now: int) -> Lag | None:
    identity = store.identity
    if any((one.log, one.epoch) != (identity.log, identity.epoch) for one in held.values()):
        return None  # of another log: its positions mean nothing here
    begin = 0
    if isinstance(function, Effect) and not held:
        begin = await first(store, function.start, process=function.timed)
    passed = [held[number].position if number in held else begin for number in ALL]
    after, looked, behind, oldest = min(passed), 0, 0, now
    while True:
        page = await store.read(function.query, after, limits.PAGE)
        for event in page.events:
            # A partition that nothing concerned lags in its checkpoint without anything to do.
            if any(event.position > passed[number] for number in _places(function, event)):
                oldest = oldest if behind else min(now, event.time)
                behind += 1
        looked += len(page.events)
        if not page.more or behind >= limits.LAG or looked >= limits.LAG_LOOKED:
            return Lag(Count(behind, page.more), (now - oldest) / 1e6)
        after = page.events[-1].position


def _places(function: View | Effect, event: Recorded[Any]) -> Sequence[int]:
    """The partitions that an event concerns, also where its key cannot be told: as `Deliver` and `Project` say."""
    try:
        if isinstance(function, Effect):
            return [partition_of(event.tenant, key) for key in function.own_keys(event)]
        data = None if function.projection.key is None or function.by_envelope else event.data
        return [partition_of(*row) for row in function.keys(event, data)]
    except Exception as error:
        if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
            raise
        return [partition_of(event.tenant, event.key if isinstance(function, Effect) else "")]


class _Status(msgspec.Struct):
    """Of an inbox row no more than is looked at: its error may be long."""

    status: str


_status = msgspec.json.Decoder(_Status).decode


def _waits(row: Row) -> bool:
    return _status(row.value).status == inbox.READY


async def _count(store: Store, span: Range, holds: Callable[[Row], bool]) -> Count:
    """How many of a span's rows hold; at most `limits.BACKLOG` are looked at."""
    looked = found = 0
    while True:
        rows, more = await store.scan(inbox.INBOX, span)
        looked += len(rows)
        found += sum(map(holds, rows))
        if not more or looked >= limits.BACKLOG:
            return Count(found, more)
        span = Range(index=span.index, low=span.low, high=span.high, after=rows[-1], limit=span.limit)
