"""What an event came from and what came of it: the chain of causes, from envelopes and from what functions have to do.

An event names its cause by id, and ids are derived, so no index finds them. But all that follows from one command has
its correlation id: one pass over the log finds the chain, by looking at the bytes of envelopes and decoding only those
that match.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import NotFound
from foldlog.flow import inbox
from foldlog.flow.effect import Effect
from foldlog.flow.fork import Fork, forked
from foldlog.flow.inbox import Item
from foldlog.flow.lease import Checkpoint, all_checkpoints, checkpoint_key, function_of
from foldlog.flow.partition import partition_of
from foldlog.flow.view import View
from foldlog.model.message import Recorded, event_id
from foldlog.model.query import Query
from foldlog.ports.store import RowKey, Store

Found = dict[int, Recorded[Any]]


class Reaction(msgspec.Struct, frozen=True):
    """What one function has made of an event, as far as that is still known.

    `state`: "passed" (its checkpoint is behind the event: handled, or older than the function), "not yet", "waiting"
    (behind another event of its key), "retry", "dead", "discarded", "done", "never ran", "before the fork". With a
    `command` (its stored name) it is about a command that the function answered with, addressed to the stream `to`:
    "to send", "retry" or "dead"; commands that were carried out show as the events they led to. `attempts` failed so
    far, the last at `failed`; the next is `due` (microseconds since 1970; 0: does not apply).
    """

    function: str
    state: str
    attempts: int = 0
    failed: int = 0
    due: int = 0
    error: str = ""
    command: str = ""
    to: str = ""
    letter: str = ""


class Traced(msgspec.Struct, frozen=True):
    """An event of the chain. `cause` is the position of the event it followed from (None: a command from outside, or a
    cause that is not in this log), `depth` the number of causes before it, `waited` the microseconds since the cause.
    `function` answered the cause with the command that led to it, as number `number` of its answer; "" where that
    function is not known here."""

    event: Recorded[Any]
    depth: int = 0
    cause: int | None = None
    waited: int = 0
    function: str = ""
    number: int = 0
    reactions: tuple[Reaction, ...] = ()


class Trace(msgspec.Struct, frozen=True):
    """A chain: each event behind its cause and before the cause's next effect. `asked` is the position of the event
    that was asked for; `cut` says that there are more than `limits.TRACE` events, of which the first are here."""

    asked: int
    events: tuple[Traced, ...]
    cut: bool = False


def _quiet(_position: int) -> None:
    """Nobody looks."""


async def why(
    store: Store,
    stream: str,
    version: int,
    tenant: str = "",
    functions: Sequence[View | Effect] = (),
    told: Callable[[int], None] = _quiet,
) -> Trace:
    """The chain of causes and effects that one event stands in.

    With an app's `functions` it says of each that takes an event what became of it there; without, only what has left
    a trace. `told` hears up to which position the log was read. Errors: `NotFound`, `Invalid`.
    """
    page = await store.read(Query(stream=stream, tenant=tenant), version - 1, 1)
    if not page.events or page.events[0].version != version:
        last = (await store.read(Query(stream=stream, tenant=tenant), 0, 1, backward=True)).events
        ends = f"the stream ends at version {last[0].version}" if last else "there is no such stream"
        raise NotFound(f"{stream}@{version}: {ends}" + (f" for tenant {tenant!r}" if tenant else ""))
    asked = page.events[0]
    found, cut = await _related(store, asked, told)
    items: dict[int, list[Item]] = {}
    async for item in inbox.all_items(store):
        if item.position in found and item.tenant == tenant:
            items.setdefault(item.position, []).append(item)
    held = await all_checkpoints(store)
    known = {function_of(key) for key in held} | {one.function for some in items.values() for one in some}
    answers = _answers(found, sorted(known | {one.name for one in functions}))
    states = _States(functions, held, await forked(store))
    traced = [
        msgspec.structs.replace(
            one,
            function=answers.get(one.event.meta.command, ("", 0))[0] if one.cause else "",
            number=answers.get(one.event.meta.command, ("", 0))[1] if one.cause else 0,
            reactions=tuple(states.of(one.event, items.get(one.event.position, ()))),
        )
        for one in _tree(found)
    ]
    return Trace(asked.position, tuple(traced), cut)


class _Wanted(NamedTuple):
    """What to look for: correlation ids, ids of events whose effects are wanted, and ids of causes."""

    correlations: set[str]
    effects_of: set[str]
    causes: set[str]


async def _related(store: Store, asked: Recorded[Any], told: Callable[[int], None]) -> tuple[Found, bool]:
    """All events that hang together with one, by position, and whether there are more of them."""
    found = {asked.position: asked}
    looked = _Wanted(set(), set(), {""})
    for _ in range(limits.TRACE_PASSES):
        events = [(event, event.meta) for event in found.values()]
        there = {event.id for event, _ in events}
        wanted = _Wanted(
            {meta.correlation for _, meta in events if meta.correlation} - looked.correlations, set(), set()
        )
        if not wanted.correlations:
            # What has another correlation than its cause, as events have whose cause was imported without one.
            wanted.effects_of.update({event.id for event, meta in events if not meta.correlation} - looked.effects_of)
            wanted.causes.update({meta.causation for _, meta in events} - there - looked.causes)
        if not any(wanted):
            return found, False
        for seen, new in zip(looked, wanted, strict=True):
            seen.update(new)
        if await _collect(store, asked.tenant, wanted, found, told):
            return found, True
    return found, True


async def _collect(store: Store, tenant: str, wanted: _Wanted, found: Found, told: Callable[[int], None]) -> bool:
    """Add the events that are wanted. True where there are too many."""
    sought = _sought(set().union(*wanted))
    after, head, more = 0, await store.head(), True
    while more and after < head:
        page = await store.read(Query(tenant=tenant), after, limits.PAGE_MAX)
        for event in sought(page.events):
            meta = event.meta
            if (
                meta.correlation in wanted.correlations
                or meta.causation in wanted.effects_of
                or (wanted.causes and event.id in wanted.causes)
            ):
                if len(found) >= limits.TRACE:
                    return True
                found[event.position] = event
        more = page.more
        after = page.events[-1].position if page.events else head
        told(min(after, head))
    return False


def _sought(texts: set[str]) -> Callable[[Iterable[Recorded[Any]]], list[Recorded[Any]]]:
    """Finds the events in whose envelope one of the texts stands, as JSON has it."""
    needles = [msgspec.json.encode(text) for text in sorted(texts)]
    if len(needles) == 1:
        needle = needles[0]
        return lambda events: [event for event in events if needle in event.raw_meta]
    search = re.compile(b"|".join(map(re.escape, needles))).search
    return lambda events: [event for event in events if search(event.raw_meta)]


def _tree(found: Found) -> list[Traced]:
    """Each event behind its cause. A cause stands before its effect in the log; what says otherwise has no cause."""
    events = [found[position] for position in sorted(found)]
    by_id: dict[str, Recorded[Any]] = {}
    effects: dict[int, list[Recorded[Any]]] = {}
    roots: list[Recorded[Any]] = []
    for event in events:
        cause = by_id.get(event.meta.causation)
        (roots if cause is None else effects.setdefault(cause.position, [])).append(event)
        by_id.setdefault(event.id, event)
    ordered: list[Traced] = []
    waiting = [Traced(event) for event in reversed(roots)]
    while waiting:
        one = waiting.pop()
        ordered.append(one)
        cause = one.event
        waiting += [
            Traced(event, one.depth + 1, cause.position, event.time - cause.time)
            for event in reversed(effects.get(cause.position, ()))
        ]
    return ordered


def _answers(found: Found, functions: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Command id -> the function that answered with the command, and its number in the answer.

    The ids are derived (`deliver` says how), so they are derived again for each function and compared.
    """
    commands: dict[str, set[str]] = {}
    for event in found.values():
        if event.meta.causation:
            commands.setdefault(event.meta.causation, set()).add(event.meta.command)
    known: dict[str, tuple[str, int]] = {}
    for cause in found.values():
        wanted = commands.get(cause.id, set())
        for function, number in chain(_numbered(functions, 1), _of_more_keys(functions)):
            if not wanted:
                break
            command = event_id(cause.tenant, function, cause.id, number)
            if command in wanted:
                known[command] = function, number % limits.KEY_STRIDE
                wanted = wanted - {command}
    return known


def _numbered(functions: Sequence[str], first: int) -> Iterator[tuple[str, int]]:
    return ((function, number) for number in range(first, first + limits.SENDS) for function in functions)


def _of_more_keys(functions: Sequence[str]) -> Iterator[tuple[str, int]]:
    """What a process answered to an event for its second key, its third and so on."""
    processes = [one for one in functions if one.startswith("process.")]
    for key in range(1, limits.INSTANCES):
        yield from _numbered(processes, key * limits.KEY_STRIDE + 1)


class _States:
    """What functions have made of events, from their rows and checkpoints."""

    def __init__(self, functions: Sequence[View | Effect], held: dict[str, Checkpoint], fork: Fork | None) -> None:
        self._functions, self._fork = functions, fork
        self._held = held

    def of(self, event: Recorded[Any], items: Sequence[Item]) -> list[Reaction]:
        """One for each function that takes the event or has a row for it, and for each command that is still open."""
        rows = [_reaction(item) for item in items]
        told = {item.function for item in items if item.command is None}
        plain = [
            Reaction(function.name, self._passed(function, event))
            for function in self._functions
            if function.name not in told and (not function.query.types or event.type in function.query.types)
        ]
        return sorted([*plain, *rows], key=lambda one: one.function)

    def _passed(self, function: View | Effect, event: Recorded[Any]) -> str:
        fork, position = self._fork, event.position
        handles = isinstance(function, Effect)
        timed = isinstance(function, Effect) and function.timed
        if handles and fork is not None and (timed or fork.handlers == "new") and position <= fork.position:
            return "before the fork"
        held = [self._held.get(checkpoint_key(function.name, place).key) for place in _places(function, event)]
        if not all(held):
            return "never ran"
        return "passed" if all(one is not None and position <= one.position for one in held) else "not yet"


def _places(function: View | Effect, event: Recorded[Any]) -> Iterable[int]:
    """The partitions of a function that an event belongs to."""
    if isinstance(function, Effect):
        return {partition_of(event.tenant, key) for key in function.keys(event)}
    try:
        keys = function.keys(event, None if function.projection.key is None else event.data)
    except Exception:  # its key cannot be told: the letter stands in one defined partition
        keys = [RowKey(event.tenant, "")]
    return {partition_of(*key) for key in keys}


def _reaction(item: Item) -> Reaction:
    state = item.status
    if state == inbox.READY:
        state = "retry" if item.attempts else "to send" if item.command else "waiting"
    letter = item.row_key.key if item.status == inbox.DEAD else ""
    command, to = (item.command.name, f"{item.command.decider}-{item.command.key}") if item.command else ("", "")
    return Reaction(item.function, state, item.attempts, item.failed, item.due, item.error, command, to, letter)
