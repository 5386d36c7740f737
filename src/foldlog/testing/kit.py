"""given/when/then for deciders, projections, handlers and processes.

    given(account, Opened("Ann")).when(Deposit(5)).then(Deposited(5))
    given(balances, Deposited(5), Deposited(7)).then(12)
    given(greet).when(Opened("Ann")).then(Send(account, "17", Deposit(1)))
    given(index).when(Opened("Ann"), Opened("Bob")).then(None, Retry(5))  # a handler of pages: one answer each
    given(transfer, Requested("a", "b", 5)).when(Accepted(Move(-5))).then(Send(account, "b", Move(5)))

Nothing is stored and no store is needed, but every value goes through the codec that would store it and every part
through the checks that an `App` makes, so that what cannot be stored or wired fails in the unit test.
"""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar, cast, overload

from foldlog.errors import Invalid, Misconfigured, Rejected
from foldlog.flow.state import Decision
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.model.decider import Decider
from foldlog.model.event import stored
from foldlog.model.handler import Handler
from foldlog.model.message import Recorded
from foldlog.model.principal import Principal
from foldlog.model.process import Accepted, Process
from foldlog.model.projection import Projection
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.ports.store import Put, RowKey
from foldlog.system import Resolved
from foldlog.testing.clock import FakeClock, SequentialIds
from foldlog.testing.difference import compare
from foldlog.testing.kit_handlers import GivenHandler
from foldlog.testing.kit_processes import GivenProcess
from foldlog.testing.surroundings import Record, Surroundings, named, survivor

__all__ = ["FakeClock", "SequentialIds", "given"]

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")
D = TypeVar("D")
R = TypeVar("R")


@overload
def given(
    part: Decider[C, Any, E], *events: E, key: str = ..., clock: Clock | None = ..., principal: Principal = ...
) -> "GivenDecider[C, E]": ...


@overload  # a fold that sees the envelope is given events too: the kit makes the envelope
def given(
    part: Projection[R, Recorded[D]], *events: D, key: str = ..., clock: Clock | None = ..., principal: Principal = ...
) -> "GivenProjection[R, D]": ...


@overload
def given(
    part: Projection[R, E], *events: E, key: str = ..., clock: Clock | None = ..., principal: Principal = ...
) -> "GivenProjection[R, E]": ...


@overload
def given(
    part: Handler[Any], *, key: str = ..., clock: Clock | None = ..., principal: Principal = ...
) -> "GivenHandler": ...


@overload
def given(
    part: Process[S, Recorded[D]],
    *events: D | Accepted | Rejected,
    key: str = ...,
    clock: Clock | None = ...,
    principal: Principal = ...,
) -> "GivenProcess[S, D | Accepted | Rejected]": ...


@overload
def given(
    part: Process[S, E], *events: E, key: str = ..., clock: Clock | None = ..., principal: Principal = ...
) -> "GivenProcess[S, E]": ...


def given(
    part: Decider[Any, Any, Any] | Projection[Any, Any] | Handler[Any] | Process[Any, Any],
    *events: Any,
    key: str = "1",
    clock: Clock | None = None,
    principal: Principal = Principal(),  # noqa: B008 - an immutable value
) -> Any:
    """A part and what happened before; go on with `.when(...)`, then `.then(...)`.

    `key` is the key of the stream that the events are of, `clock` (a `FakeClock` where none is given) tells the time
    of events and contexts, `principal` is who asks. Errors: `Misconfigured` for a part that no `App` would take,
    `Invalid` for an event that cannot be stored or that the part does not take.
    """
    if not isinstance(part, Decider | Projection | Handler | Process):
        raise TypeError(
            f"{part!r} cannot be given: name a decider, a projection, a handler or a process (no decorator?)"
        )
    resolved = Resolved([part])
    if resolved.faults:
        raise Misconfigured("; ".join(resolved.faults))
    around = Surroundings(key, clock or FakeClock(), principal)
    match part:
        case Decider():
            return GivenDecider(resolved, part, around, events)
        case Projection():
            return GivenProjection(resolved, part, around, events)
        case Process():
            return GivenProcess(part, around, events)
    if events:
        raise TypeError(f"{part!r} remembers nothing between events: write given(handler).when(event)")
    return GivenHandler(resolved, part, around)


class GivenDecider(Generic[C, E]):
    """A decider and its entity's history."""

    def __init__(
        self, resolved: Resolved, decider: Decider[C, Any, E], around: Surroundings, events: Sequence[E]
    ) -> None:
        self._schemas, self._decider, self._around = resolved.schemas(), decider, around
        self._decision: Decision = resolved.decisions(self._schemas)[decider.category]
        record = Record(self._schemas, repr(decider), decider.category, around)
        self._history = [record(event) for event in events]

    def when(self, command: C) -> "DeciderAnswer[E]":
        """Decide a command. An exception that is no `Rejected` goes through to the test."""
        decider, decision = self._decider, self._decision
        if type(command) not in decision.commands:
            known = ", ".join(sorted(one.__name__ for one in decision.commands))
            raise Invalid(f"{decider!r} takes {known}, not {named(command)}")
        _, _, again = self._schemas.encode(command)
        state = decision.fold(decider.initial, self._found(again))
        arguments = (again, state, self._around.context()) if decision.wants_context else (again, state)
        try:
            answer = decider.decide(*arguments)
        except Rejected as rejected:
            return DeciderAnswer(decider, self._schemas, (), rejected)
        if not isinstance(answer, list | tuple):
            raise Invalid(f"decide of {decider!r} answers {type(answer).__name__}: return a list of events")
        for one in answer:
            if (mark := stored(type(one))) is None or mark.kind != "event":
                raise Invalid(f"decide of {decider!r} answers {named(one)}, which is no event: return events")
        return DeciderAnswer(decider, self._schemas, [survivor(self._schemas, one) for one in answer], None)

    def _found(self, command: C) -> list[Recorded[Any]]:
        if self._decider.scope is None:
            return self._history
        query = self._decider.scope(command)
        if not isinstance(query, Query) or not (query.tags or query.types or query.any_of):
            raise Invalid(f"scope of {self._decider!r} must return a Query by types or tags")
        sides = query.any_of or (query,)
        return [event for event in self._history if any(_matches(side, event) for side in sides)]


class DeciderAnswer(Generic[E]):
    """What a decider answered."""

    def __init__(
        self, decider: Decider[Any, Any, E], schemas: Schemas, events: Sequence[E], refusal: Rejected | None
    ) -> None:
        self._decider, self._schemas, self._events, self._refusal = decider, schemas, events, refusal

    def then(self, *expected: E) -> None:
        """These events follow, and no others."""
        __tracebackhide__ = True
        if not expected:
            raise TypeError("then() expects events; where none are expected, write then_nothing()")
        self._expect([survivor(self._schemas, one) for one in expected])

    def then_nothing(self) -> None:
        """The command is accepted, and no event follows."""
        __tracebackhide__ = True
        self._expect([])

    def then_rejected(self, code: str) -> Rejected:
        """The command is refused with this code; returns the refusal, to look at its message and data."""
        __tracebackhide__ = True
        if self._refusal is None:
            events = "\n".join(f"  {one!r}" for one in self._events) or "  nothing"
            raise AssertionError(f"{self._decider!r} should refuse with {code!r}, and decided\n{events}")
        if self._refusal.code != code:
            raise AssertionError(
                f"{self._decider!r} should refuse with {code!r}, and refused with {self._refusal.code!r}: "
                f"{self._refusal.message}"
            ) from self._refusal
        return self._refusal

    def _expect(self, expected: Sequence[E]) -> None:
        __tracebackhide__ = True
        if self._refusal is not None:
            raise AssertionError(
                f"{self._decider!r} refused with {self._refusal.code!r}: {self._refusal.message}"
            ) from self._refusal
        compare(f"{self._decider!r} decided otherwise", self._events, expected)


class GivenProjection(Generic[R, E]):
    """A projection and the events it has folded."""

    def __init__(
        self, resolved: Resolved, projection: Projection[R, E], around: Surroundings, events: Sequence[E]
    ) -> None:
        self._projection = projection
        self._view: View = resolved.views[projection.name]
        self._record = Record(resolved.schemas(), repr(projection), "given", around)
        self._rows: dict[str, Any] = {}
        for event in events:
            self._fold(event)

    def when(self, event: E) -> "GivenProjection[R, E]":
        """Fold one more event."""
        self._fold(event)
        return self

    def then(self, row: R | None, *, key: str | None = None) -> None:
        """The row is this one; None where there is none. `key` names it where the events went into several rows."""
        __tracebackhide__ = True
        if key is None and len(self._rows) > 1:
            keys = ", ".join(repr(one) for one in self._rows)
            raise TypeError(f"{self._projection!r} made the rows {keys}: name one, then(row, key=...)")
        found = self._rows.get(key) if key is not None else next(iter(self._rows.values()), None)
        expected = None if row is None else self._view.codec.encode(row)[1]
        where = "" if key is None else f" for {key!r}"
        compare(f"{self._projection!r} made another row{where}", [found], [expected])

    def _fold(self, event: E) -> None:
        view, recorded = self._view, self._record(event)
        for row_key in view.keys(recorded, recorded.data):
            row = self._projection.fold(self._rows.get(row_key.key), cast("E", self._argument(recorded)))
            self._rows[row_key.key] = self._stored(row_key, row, recorded.position)

    def _argument(self, recorded: Recorded[Any]) -> object:
        return recorded if self._view.takes.recorded else recorded.data

    def _stored(self, key: RowKey, row: Any, position: int) -> Any:
        change = self._view.change(key, row, position)
        if row is None or not isinstance(change, Put):
            return None
        return self._view.codec.decode(change.value)


def _matches(query: Query, event: Recorded[Any]) -> bool:
    return (not query.types or event.type in query.types) and set(query.tags) <= set(event.tags)
