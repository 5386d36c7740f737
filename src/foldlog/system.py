"""The list of parts, checked, becomes a system: a store, an executor, and functions ready to run."""

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

from foldlog import limits
from foldlog.connect import connect, scratch
from foldlog.errors import FoldlogError, Misconfigured
from foldlog.flow.attempt import Handling
from foldlog.flow.awaited import Awaited
from foldlog.flow.effect import Effect
from foldlog.flow.execute import Execute
from foldlog.flow.orchestrate import Orchestration
from foldlog.flow.serving import Serving
from foldlog.flow.snapshot import Rule, check_state
from foldlog.flow.state import Decision
from foldlog.flow.travel import Travel
from foldlog.flow.view import View
from foldlog.model.clock import Clock, Ids, SystemClock, TimeOrderedIds
from foldlog.model.decider import Decider
from foldlog.model.event import stored
from foldlog.model.handler import Handler
from foldlog.model.message import Kind, KindFactory, Send
from foldlog.model.process import Process
from foldlog.model.projection import Projection
from foldlog.model.retry import LONGEST
from foldlog.model.schedule import Schedule
from foldlog.model.schema import Schemas, Upcast
from foldlog.model.signature import hints, taken
from foldlog.ports.store import Store

Part = Decider[Any, Any, Any] | Projection[Any, Any] | Handler[Any] | Process[Any, Any] | Schedule | Upcast
Function = View | Effect
_NAMED = "projections, handlers or processes named"


@dataclass(frozen=True, slots=True)
class System:
    """An app's parts, resolved and wired to one store. `owner` names this process in leases."""

    store: Store
    schemas: Schemas
    decisions: dict[str, Decision]
    views: dict[str, View]
    effects: dict[str, Effect]
    execute: Execute
    serving: Serving
    travel: Travel
    awaited: Awaited
    schedules: dict[str, Schedule]
    clock: Clock
    ids: Ids
    owner: str
    lease: float

    @property
    def processes(self) -> dict[str, Orchestration]:
        """The processes among the effects, by name."""
        return {name: one for name, one in self.effects.items() if isinstance(one, Orchestration)}

    def functions(self) -> list[Function]:
        """What the runtime runs on events, in the order of the list of parts."""
        return [*self.views.values(), *self.effects.values()]

    def unlisted(self, part: object, takes: str) -> str:
        """What is wrong with a part that a caller named: `takes` says what could stand there."""
        listed: list[object] = [one.decider for one in self.decisions.values()]
        listed += [*(view.projection for view in self.views.values()), *(one.part for one in self.effects.values())]
        if any(one is part for one in listed):
            return f"{part!r} cannot stand here: this takes {takes}"
        if any(repr(one) == repr(part) for one in listed):
            return f"{part!r} is another object than the one in this app's list of parts: is its module imported twice?"
        why = ""
        if isinstance(part, str):
            why = ": name the part itself, not its name"
        elif callable(part) and not isinstance(part, Decider | Projection | Handler | Process):
            why = ": is its decorator missing?"
        known = ", ".join(map(repr, listed)) or "none"
        return f"{part!r} is not in this app's list of parts{why} (listed: {known})"


def build(
    url: str,
    parts: "Sequence[object] | Resolved",
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    lease: float = limits.LEASE,
    command_window: float = limits.COMMAND_WINDOW,
    store: Callable[[KindFactory], Store] | None = None,
) -> System:
    """Check the parts and wire them. Nothing is opened yet. Errors: `Misconfigured`, naming every fault found.

    `store` makes the store in the place of the URL's, for tools that stand between an app and its store.
    """
    if not all(isinstance(one, int | float) and 0 < one < LONGEST for one in (lease, command_window)):
        raise Misconfigured(f"lease and command_window are seconds, more than 0 and less than {LONGEST:,.0f}")
    resolved = parts if isinstance(parts, Resolved) else Resolved(parts)
    clock = clock or SystemClock()
    if resolved.faults:
        resolved.note(lambda: connect(url, Kind, clock.now))  # a wrong URL is named together with the other faults
        raise Misconfigured(faults=tuple(resolved.faults))
    ids = ids or TimeOrderedIds()
    schemas = resolved.schemas()
    opened = store(schemas.kind) if store is not None else connect(url, schemas.kind, clock.now)
    _check_capabilities(opened, resolved)
    decisions = resolved.decisions(schemas)
    inline = [view for view in resolved.views.values() if view.inline]
    serving = Serving(opened, clock)
    execute = Execute(opened, schemas, decisions, inline, clock, ids, command_window, serving)
    travel = Travel(opened, schemas, clock, scratch)
    owner = f"{socket.gethostname()}:{os.getpid()}:{TimeOrderedIds()()}"
    return System(
        opened,
        schemas,
        decisions,
        resolved.views,
        resolved.effects,
        execute,
        serving,
        travel,
        Awaited(opened),
        resolved.schedules,
        clock,
        ids,
        owner,
        lease,
    )


class Resolved:
    """The parts with their annotations resolved, and `commands` that none of them names. `faults` holds every fault, so
    that `check` can show them all.

    `whole` says that these are all parts of an app, with the upcasts of their events; a test looks at one part alone.
    """

    def __init__(self, parts: Sequence[object], commands: Iterable[type] = (), *, whole: bool = True) -> None:
        self._whole = whole
        self.faults: list[str] = []
        self.deciders: dict[str, tuple[Decider[Any, Any, Any], tuple[type, ...]]] = {}
        self.views: dict[str, View] = {}
        self.effects: dict[str, Effect] = {}
        self.processes: dict[str, Orchestration] = {}
        self.schedules: dict[str, Schedule] = {}
        self.upcasts: list[Upcast] = []
        self._commands: list[type] = [*commands]
        for part in parts:
            self.note(lambda part=part: self._add(part))  # type: ignore[misc]  # mypy cannot infer a default argument
        self._schemas: Schemas | None = None
        if not self.faults:
            self.note(self._make_schemas)

    def schemas(self) -> Schemas:
        """The codecs of all listed types."""
        if self._schemas is None:
            raise Misconfigured("; ".join(self.faults))
        return self._schemas

    def decisions(self, schemas: Schemas) -> dict[str, Decision]:
        """The deciders, ready to be executed, by category."""
        found: dict[str, Decision] = {}
        for category, (decider, _) in self.deciders.items():
            folded = taken(decider.evolve, 1, f"decider {category!r}", "event").types
            names = schemas.names(folded)
            every = decider.snapshot
            rule = None if every is None else Rule(decider, every, (*folded, *schemas.upcasts(names)))
            found[category] = Decision(decider, folded, frozenset(names), rule)
        return found

    def _add(self, part: object) -> None:
        match part:
            case Decider():
                self._once(self.deciders, part.category, "deciders of the category")
                _all_plain(repr(part), part.decide, part.evolve, part.scope)
                events = decider_events(part)
                check_state(part)
                self._commands += taken(part.decide, 0, f"decider {part.category!r}", "command").types
                self.deciders[part.category] = part, events
            case Projection():
                self._once(self._names(), part.name, _NAMED)
                _all_plain(repr(part), part.fold, part.key)
                self.views[part.name] = View(part)
            case Handler():
                self._once(self._names(), part.name, _NAMED)
                _all_plain(f"key of {part!r}", part.key)
                self.effects[part.name] = Handling(part)
            case Process():
                self._once(self._names(), part.name, _NAMED)
                _all_plain(repr(part), part.evolve, part.react, part.key)
                self.effects[part.name] = self.processes[part.name] = Orchestration(part)
            case Schedule():
                self._once(self.schedules, part.name, "schedules named")
                self.schedules[part.name] = part
            case Upcast():
                self.upcasts.append(part)
            case _:
                raise Misconfigured(
                    f"{part!r} is no part: list deciders, projections, handlers, processes, schedules and upcasts"
                    + (" (the decorator is missing?)" if callable(part) else "")
                )

    def _names(self) -> dict[str, object]:
        return {**self.views, **self.effects}

    def _functions(self) -> list[Function]:
        return [*self.views.values(), *self.effects.values()]

    def _once(self, known: Iterable[str], name: str, what: str) -> None:
        if name in known:
            raise Misconfigured(f"there are two {what} {name!r}")

    def _make_schemas(self) -> None:
        events: dict[type, None] = {}
        for _, types in self.deciders.values():
            events.update(dict.fromkeys(types))
        for function in self._functions():
            events.update(dict.fromkeys(function.takes.types))
        for view in self.views.values():
            self._check_inline(view)
        if both := sorted(self.processes.keys() & self.deciders.keys()):
            raise Misconfigured(
                f"{both[0]!r} names a decider and a process: both have streams of that category; rename one of them"
            )
        for schedule in self.schedules.values():
            self._check_schedule(schedule)
        states = [one.state for one in self.processes.values()]
        self._schemas = Schemas(events, self._commands, self.upcasts, states, complete=self._whole)
        for function in self._functions():
            function.bind(self._schemas)

    def _check_inline(self, view: View) -> None:
        # The row's position is the version of its one stream; two streams with the same key would mix their versions.
        makers = [name for name, (_, events) in self.deciders.items() if set(events) & set(view.takes.types)]
        if view.inline and len(makers) > 1:
            raise Misconfigured(
                f"{view.projection!r}: inline rows are keyed by one stream, but its events are of the deciders "
                f"{', '.join(makers)}: leave inline out, or make a projection for each"
            )

    def _check_schedule(self, schedule: Schedule) -> None:
        if isinstance(schedule.send, Send) and schedule.send.decider not in self.deciders:
            raise Misconfigured(f"{schedule!r} sends to the decider {schedule.send.decider!r}, which no listed part is")

    def note(self, work: Callable[[], object]) -> None:
        """Do `work`; if it fails, remember why."""
        try:
            work()
        except FoldlogError as error:
            self.faults.append(error.message)
        except (TypeError, ValueError) as error:  # Python's own word on something that is no function
            self.faults.append(str(error))


def decider_events(decider: Decider[Any, Any, Any]) -> tuple[type, ...]:
    """The events a decider knows: those that `evolve` takes, and those that `decide` is annotated to return."""
    what = f"decider {decider.category!r}"
    takes = taken(decider.evolve, 1, what, "event")
    if takes.recorded:
        raise Misconfigured(f"{what}: events are evolved before they have an envelope: take the event alone")
    known = dict.fromkeys(takes.types)
    answer = hints(decider.decide, what).get("return")
    if stored(answer) is not None:
        name = answer.__name__
        raise Misconfigured(f"{what}: decide is annotated to return {name}: return a list of events, list[{name}]")
    known.update(dict.fromkeys(one for one in _inside(answer) if (mark := stored(one)) and mark.kind == "event"))
    return tuple(known)


def _all_plain(what: str, *functions: Callable[..., Any] | None) -> None:
    if any(iscoroutinefunction(function) for function in functions):
        raise Misconfigured(f"{what}: only handlers are async; whatever decides, folds or names a key is a plain def")


def _inside(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", ())
    return [annotation, *(one for part in inner for one in _inside(part))]


def _check_capabilities(store: Store, resolved: Resolved) -> None:
    scoped = [decider.category for decider, _ in resolved.deciders.values() if decider.scope]
    if scoped and not store.capabilities.tags:
        raise Misconfigured(f"decider {scoped[0]!r} has a scope by tags, which this store does not offer")
    if resolved.processes and store.capabilities.batch_streams < len(("the command's", "the process's")):
        raise Misconfigured(
            f"{next(iter(resolved.processes))!r} is a process: this store cannot write two streams at once"
        )
