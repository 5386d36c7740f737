"""What is wrong with functions and events: leases, letters, backlog, kinds that cannot be read, slow folds."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.errors import Corrupt, Undecodable
from foldlog.flow import inbox, serving
from foldlog.flow.effect import Effect
from foldlog.flow.fork import forked
from foldlog.flow.lease import Checkpoint, all_checkpoints, function_of
from foldlog.flow.orchestrate import Orchestration, decode
from foldlog.flow.partition import ALL
from foldlog.flow.state import Decision
from foldlog.flow.timers import next_due
from foldlog.flow.view import View
from foldlog.model.finding import FAIL, OK, WARN, Examined, Finding, counted
from foldlog.model.message import Recorded, to_datetime
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.ports.store import Range, Row, Store

_LATE = 60_000_000
_FOREIGN, _RUNS, _UNNAMED, _IDLE, _ENDED = "foreign", "runs", "unnamed", "idle", "ended"


class Parts(NamedTuple):
    """What an app says, as far as it can be compared with what is stored."""

    functions: Sequence[View | Effect]
    decisions: dict[str, Decision]
    schemas: Schemas


async def examine(store: Store, now: int, parts: Parts | None, below: Examined) -> list[Finding]:
    """Look at rows and events through the port; `now` is microseconds since 1970, `below` what the engine found.

    Without `parts` only what needs no code is looked at. Nothing is changed, no handler is called.
    """
    fork = await forked(store)
    origin = f", forked from log {fork.log} at position {fork.position}" if fork else ""
    found = [Finding("log", OK, f"{store.identity.log}, epoch {store.identity.epoch}{origin}")]
    head = await store.head()
    found += _leases(store, await all_checkpoints(store), head, now, parts)
    found += await _backlog(store, now)
    if parts is not None:
        found += await _kinds(store, below, parts.schemas)
        found += _tables(below, parts)
        found += await _indexes(store, parts)
        found += await _processes(store, parts, now)
        found += await _folds(store, parts)
    return found


async def _processes(store: Store, parts: Parts, now: int) -> list[Finding]:
    """States that the code cannot read, and timers that should have rung."""
    found: list[Finding] = []
    for process in (one for one in parts.functions if isinstance(one, Orchestration)):
        rows, more = await store.scan(process.table, Range(limit=limits.FOLD_SAMPLE))
        bad = [fault for row in rows if (fault := _unreadable(process, row))]
        of = f"of the first {len(rows):,} instances" if more else f"of {counted(len(rows), 'instance')}"
        if bad:
            what = f"{process.name}: the states {of} include {len(bad):,} that this code cannot read: {bad[0]}"
            cure = "change the state's type back, or raise the process's version= and list an Upcast of its name"
            found.append(Finding("processes", FAIL, what, cure))
        else:
            found.append(Finding("processes", OK, f"{process.name}: the states {of} can be read"))
        late = now - min([await next_due(store, process.name, number) for number in ALL])
        if late > _LATE:
            what = f"{process.name}: a timer has been due for {late / 1e6:,.0f} seconds"
            cure = "start `foldlog run APP`; where it runs, see what `foldlog functions APP` says of this process"
            found.append(Finding("processes", WARN, what, cure))
    return found


def _unreadable(process: Orchestration, row: Row) -> str:
    try:
        process.read(decode(row))
    except Exception as error:
        return f"{row.key.key!r}: {error}"
    return ""


def _leases(store: Store, held: dict[str, Checkpoint], head: int, now: int, parts: Parts | None) -> Iterator[Finding]:
    """One finding for each function and state that its partitions are in: all 16 mostly say the same."""
    identity = (store.identity.log, store.identity.epoch)
    named = {one.name for one in parts.functions} if parts else None
    alike: dict[tuple[str, str], list[Checkpoint]] = {}
    for key, one in held.items():
        name = function_of(key)
        if (one.log, one.epoch) != identity:
            state = _FOREIGN
        elif one.owner and one.until >= now:
            state = _RUNS
        elif named is not None and name not in named:
            state = _UNNAMED
        else:
            state = _ENDED if one.owner else _IDLE
        alike.setdefault((name, state), []).append(one)
    for (name, state), some in alike.items():
        yield _lease(name, state, some, head, parts)
    for name in sorted((named or set()) - {function_of(key) for key in held}):
        yield Finding("leases", WARN, f"{name} never ran", "start `foldlog run APP`")


def _lease(name: str, state: str, some: list[Checkpoint], head: int, parts: Parts | None) -> Finding:
    lowest = min(one.position for one in some)
    where = f"the lowest is at position {lowest}, {max(0, head - lowest):,} behind"
    what = f"{name}: {counted(len(some), 'partition')}"
    who = ", ".join(sorted({one.owner for one in some}))
    if state == _FOREIGN:
        cure = "stop this app: the file is not the one that the function ran on; restore the right one"
        return Finding("leases", FAIL, f"{what} of another log, {', '.join(sorted({one.log for one in some}))}", cure)
    if state == _UNNAMED:
        return Finding(
            "leases", WARN, f"{name}: this app names no such function, and nobody runs it", _left(name, parts)
        )
    if state == _IDLE:
        return Finding("leases", WARN, f"{what}, nobody runs it; {where}", "start `foldlog run APP`")
    if state == _ENDED:
        since = to_datetime(min(one.until for one in some)).isoformat(timespec="seconds")
        cure = "its process died or hangs: look there; any other `foldlog run APP` takes it over"
        return Finding("leases", WARN, f"{what}, {who} has not renewed its lease, which ended {since}; {where}", cure)
    return Finding("leases", OK, f"{what}, {who} runs it; {where}")


def _left(name: str, parts: Parts | None) -> str:
    """What to do about what a function left behind that this app does not list."""
    view, _, version = name.removeprefix("view.").rpartition(".")
    if any(isinstance(one, View) and one.projection.name == view for one in (parts.functions if parts else ())):
        return f"once it is not read and no older code runs: `foldlog views APP drop {view} {version}`"
    return "run the app that lists it, or leave it: it does no harm, and a part of that name would go on from there"


async def _backlog(store: Store, now: int) -> list[Finding]:
    dead: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    overdue: Counter[str] = Counter()
    async for item in inbox.all_items(store):
        dead[item.function] += item.status == inbox.DEAD
        waiting[item.function] += item.status == inbox.READY
        # Behind a dead letter or another retry nothing is due; what has an attempt behind it has a time of its own.
        late = item.status == inbox.READY and item.attempts > 0 and item.due + 60_000_000 < now
        overdue[item.function] += late
    found: list[Finding] = []
    for name, count in sorted((+dead).items()):
        cure = "foldlog dead-letters APP list; then mend the cause, and replay or discard them"
        found.append(Finding("dead letters", WARN, f"{name} has {count:,}", cure))
    for name, count in sorted((+waiting).items()):
        what = f"{name}: {counted(count, 'item')} to do, {overdue[name]:,} of them overdue by more than a minute"
        full = count >= limits.PARKED
        if full:
            what += f"; at {limits.PARKED:,} it stops reading"
        cure = "mend what its retries and dead letters fail on" if full else "see whether `foldlog run APP` runs"
        found.append(
            Finding("backlog", WARN if full or overdue[name] else OK, what, cure if full or overdue[name] else "")
        )
    if not +dead:
        found.append(Finding("dead letters", OK, "none"))
    if not +waiting:
        found.append(Finding("backlog", OK, "nothing waits for a retry"))
    return found


async def _kinds(store: Store, below: Examined, schemas: Schemas) -> list[Finding]:
    found: list[Finding] = []
    read = 0
    for category, name, schema in below.kinds:
        what = f"{name} version {schema} of {category}"
        if not schemas.knows(name):
            cure = "list a part that takes it, or an Upcast from it; nothing else in this app sees these events"
            found.append(Finding("kinds", WARN, f"{what}: no listed part names it", cure))
            continue
        for backward in (False, True):
            page = await store.read(Query(types=(name,), category=category), 0, limits.DECODE_SAMPLE, backward=backward)
            sample = [event for event in page.events if event.schema == schema]
            read += len(sample)
            if wrong := next(_undecodable(sample), ""):
                cure = "give the event a new version and an Upcast, or undo the change of its class"
                found.append(Finding("decoding", FAIL, wrong, cure))
                break
    if not found:
        what = f"{counted(len(below.kinds), 'kind')} of events, all known; {counted(read, 'sample')} decoded"
        found.append(Finding("decoding", OK, what))
    return found


def _undecodable(events: Sequence[Recorded[Any]]) -> Iterator[str]:
    for event in events:
        try:
            _ = event.data
        except Undecodable as error:
            yield error.message


def _tables(below: Examined, parts: Parts) -> Iterator[Finding]:
    named = {one.table.name for one in parts.functions if isinstance(one, View)}
    for name in below.tables:
        if name.startswith("view.") and name not in named:
            what = f"{name}: no projection of this app has this name and version"
            yield Finding("tables", WARN, what, _left(name, parts))


async def _indexes(store: Store, parts: Parts) -> list[Finding]:
    found: list[Finding] = []
    for view in (one for one in parts.functions if isinstance(one, View)):
        known, _ = await serving.find_version(store, view.projection.name, view.projection.version)
        if known is not None and (wrong := serving.other_indexes(known, view)):
            what, _, cure = wrong.partition(": ")
            found.append(Finding("tables", FAIL, f"{what}: it cannot run", cure))
    return found


async def _folds(store: Store, parts: Parts) -> list[Finding]:
    """Each fold, timed on the oldest events of its types: there its rows begin as they did."""
    timed: list[tuple[float, str]] = []
    found: list[Finding] = []
    works: list[tuple[str, Query, Callable[[Sequence[Recorded[Any]]], Iterator[None]]]] = [
        (one.name, one.query, _Rows(one).fold) for one in parts.functions if isinstance(one, View)
    ]
    works += [
        (f"decider {category}", Query(category=category), _States(decision).fold)
        for category, decision in parts.decisions.items()
        if decision.decider.scope is None
    ]
    for name, query, fold in works:
        events = (await store.read(query, 0, limits.FOLD_SAMPLE)).events
        count, begun = 0, time.perf_counter()
        try:
            for _ in fold(events):
                count += 1
                if time.perf_counter() - begun > limits.FOLD_TIME:
                    break
        except Exception as error:
            if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
                raise
            event = events[count]
            what = f"{name} fails on {event.stream}@{event.version}: {type(error).__name__}: {error}"
            found.append(Finding("folds", WARN, what, "mend the fold, and give a projection a new version"))
        if count:
            timed.append(((time.perf_counter() - begun) / count, name))
    for seconds, name in sorted(timed, reverse=True):
        if seconds > limits.FOLD_SLOW:
            what = f"{name} takes {seconds * 1e3:,.1f} ms an event: a rebuild does {1 / seconds:,.0f} a second"
            found.append(Finding("folds", WARN, what, "profile it: a fold only computes, on what it is given"))
    if timed and not found:
        seconds, name = max(timed)
        found.append(
            Finding(
                "folds", OK, f"the slowest of {len(timed)} is {name}: {seconds * 1e6:,.1f} us an event, with decoding"
            )
        )
    return found


class _Rows:
    """A projection's rows, in memory."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._rows: dict[Any, Any] = {}

    def fold(self, events: Sequence[Recorded[Any]]) -> Iterator[None]:
        view, rows = self._view, self._rows
        for event in events:
            data = event.data
            for key in view.keys(event, data):
                rows[key] = view.projection.fold(rows.get(key), event if view.takes.recorded else data)
            yield


class _States:
    """A decider's states, in memory."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self._states: dict[tuple[str, str], Any] = {}

    def fold(self, events: Sequence[Recorded[Any]]) -> Iterator[None]:
        for event in events:
            key = event.tenant, event.stream
            if key not in self._states:
                self._states[key] = deepcopy(self._decision.decider.initial)
            self._states[key] = self._decision.fold(self._states[key], [event])
            yield
