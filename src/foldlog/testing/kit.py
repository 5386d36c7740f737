"""given/when/then for deciders, projections and handlers.

    given(account, Opened("Ann")).when(Deposit(5)).then(Deposited(5))
    given(balances, Deposited(5), Deposited(7)).then(12)
    given(greet).when(Opened("Ann")).then(Send(account, "17", Deposit(1)))
    given(index).when(Opened("Ann"), Opened("Bob")).then(None, Retry(5))  # a handler of pages: one answer each

Nothing is stored and no store is needed, but every value goes through the codec that would store it and every part
through the checks that an `App` makes, so that what cannot be stored or wired fails in the unit test.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from typing import Any, Generic, TypeVar, cast, overload

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured, Rejected
from foldlog.flow.attempt import Effect
from foldlog.flow.state import Decision
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.model.decider import Decider
from foldlog.model.event import stored
from foldlog.model.handler import Context, DeadLetter, Handler, Retry, Skip
from foldlog.model.message import Meta, Recorded, Send, encode_meta, to_datetime
from foldlog.model.principal import Principal
from foldlog.model.projection import Projection
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.model.stream import check_text, stream_of
from foldlog.model.verdict import verdict, verdicts
from foldlog.ports.store import Put, RowKey
from foldlog.system import Resolved
from foldlog.testing.clock import FakeClock, SequentialIds
from foldlog.testing.difference import compare

__all__ = ["FakeClock", "SequentialIds", "given"]

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")
D = TypeVar("D")
R = TypeVar("R")
X = TypeVar("X", bound=BaseException)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a fold sees of the world beside its event: the stream's key, the time, and who asks."""

    key: str
    clock: Clock
    principal: Principal

    def context(self, recorded: Recorded[Any] | None = None, id: str = "") -> Context:
        now = to_datetime(self.clock.now())
        if recorded is not None and recorded.log != "given":  # one with an envelope of its own: `exported`
            meta = recorded.meta
            return Context(now, Principal(meta.actor), meta.correlation, recorded.tenant, recorded, 1, id, 1)
        return Context(now, self.principal, "given", "", recorded, 1, id, 1 if recorded else 0)


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


def given(
    part: Decider[Any, Any, Any] | Projection[Any, Any] | Handler[Any],
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
    if not isinstance(part, Decider | Projection | Handler):
        raise TypeError(
            f"{part!r} cannot be given: name a decider, a projection or a handler (is the decorator missing?)"
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
    if events:
        raise TypeError(f"{part!r} remembers nothing between events: write given(handler).when(event)")
    return GivenHandler(resolved, part, around)


class _Record:
    """Makes recorded events of plain ones, as a store would, through the part's own schemas."""

    def __init__(self, schemas: Schemas, what: str, category: str, around: Surroundings) -> None:
        self.schemas, self.what, self.around = schemas, what, around
        self.stream = stream_of(category, around.key)
        self._count = 0

    def __call__(self, event: Any) -> Recorded[Any]:
        if isinstance(event, Recorded) and event.type in self.schemas.event_names():
            return event
        mark = stored(type(event))
        if mark is None or mark.kind != "event" or mark.name not in self.schemas.event_names():
            takes = ", ".join(self.schemas.event_names()) or "none"
            raise Invalid(f"{self.what} takes no {_named(event)}; its events: {takes}")
        mark, body, again = self.schemas.encode(event)
        self._count += 1
        around, number = self.around, self._count
        category = self.stream.partition("-")[0]
        kind = self.schemas.kind(category, mark.name, mark.version, "json")
        tags = self.schemas.tags(mark, again)
        meta = Meta(f"given-{number}", 0, "given", "", around.principal.actor, tags=tags)
        return Recorded(number, "", self.stream, number, kind, around.clock.now(), encode_meta(meta), body, "given")


class GivenDecider(Generic[C, E]):
    """A decider and its entity's history."""

    def __init__(
        self, resolved: Resolved, decider: Decider[C, Any, E], around: Surroundings, events: Sequence[E]
    ) -> None:
        self._schemas, self._decider, self._around = resolved.schemas(), decider, around
        self._decision: Decision = resolved.decisions(self._schemas)[decider.category]
        record = _Record(self._schemas, repr(decider), decider.category, around)
        self._history = [record(event) for event in events]

    def when(self, command: C) -> "DeciderAnswer[E]":
        """Decide a command. An exception that is no `Rejected` goes through to the test."""
        decider, decision = self._decider, self._decision
        if type(command) not in decision.commands:
            known = ", ".join(sorted(one.__name__ for one in decision.commands))
            raise Invalid(f"{decider!r} takes {known}, not {_named(command)}")
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
                raise Invalid(f"decide of {decider!r} answers {_named(one)}, which is no event: return events")
        return DeciderAnswer(decider, self._schemas, [_survivor(self._schemas, one) for one in answer], None)

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
        self._expect([_survivor(self._schemas, one) for one in expected])

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
        self._record = _Record(resolved.schemas(), repr(projection), "given", around)
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


class GivenHandler:
    """A handler, which remembers nothing."""

    def __init__(self, resolved: Resolved, handler: Handler[Any], around: Surroundings) -> None:
        self._handler = handler
        self._effect: Effect = resolved.effects[handler.name]
        self._around = around
        self._record = _Record(resolved.schemas(), repr(handler), "given", around)

    def when(self, *events: Any) -> "HandlerAnswer":
        """Run the handler on an event, or on a page of them where it takes pages: the first attempt."""
        handler, effect = self._handler, self._effect
        if not 1 <= len(events) <= effect.page:
            raise TypeError(f"{handler!r} takes 1 to {effect.page} events in one call, not {len(events)}")
        page = [self._record(event) for event in events]
        context = self._around.context(page[0], f"{effect.name}:{page[0].id}")
        if effect.takes.listed:
            context = replace(context, recorded=None, id="")
        arguments = effect.arguments(page, context)
        for recorded in page:
            check_text("handler key", effect.key(recorded), limits.KEY_BYTES)
        try:
            if iscoroutinefunction(handler.function):
                answer = _run(_within(handler.timeout, handler.function(*arguments)))
            else:
                answer = handler.function(*arguments)
        except Exception as error:
            return HandlerAnswer(handler, (), error)
        if not effect.takes.listed:
            return HandlerAnswer(handler, _answers(handler, answer), None)
        found = verdicts(answer, len(page), repr(handler))
        return HandlerAnswer(handler, [_in_page(handler, one) for one in found], None, in_page=True)


class HandlerAnswer:
    """What a handler answered, or the exception it ended with."""

    def __init__(
        self, handler: Handler[Any], answer: Sequence[object], error: Exception | None, *, in_page: bool = False
    ) -> None:
        self._handler, self._answer, self._error, self._in_page = handler, answer, error, in_page

    def then(self, *expected: Send | Retry | Skip | DeadLetter | Sequence[Send] | None) -> None:
        """It answers these commands, or this verdict, or to each event of a page one of None, a Send, a list of Send or
        a verdict; a verdict without `why` stands for any reason."""
        __tracebackhide__ = True
        if not expected:
            raise TypeError("then() expects commands or a verdict; where nothing is expected, write then_nothing()")
        self._done()
        survives = _in_page if self._in_page else _survivor_of
        wanted = [survives(self._handler, one) for one in expected]
        found = [_without_why(one, other) for one, other in zip(self._answer, wanted, strict=False)]
        compare(f"{self._handler!r} answered otherwise", [*found, *self._answer[len(wanted) :]], wanted)

    def then_nothing(self) -> None:
        """It is done, each event of a page too, and no command follows."""
        __tracebackhide__ = True
        self._done()
        nothing = [None] * len(self._answer) if self._in_page else []
        compare(f"{self._handler!r} answered otherwise", self._answer, nothing)

    def then_raised(self, kind: type[X]) -> X:
        """The attempt fails with this exception; returns it."""
        __tracebackhide__ = True
        if self._error is None:
            raise AssertionError(f"{self._handler!r} should raise {kind.__name__}, and answered {list(self._answer)}")
        if isinstance(self._error, kind):
            return self._error
        raise AssertionError(
            f"{self._handler!r} should raise {kind.__name__}, and raised {self._error!r}"
        ) from self._error

    def _done(self) -> None:
        __tracebackhide__ = True
        if self._error is not None:
            raise AssertionError(f"{self._handler!r} raised {self._error!r}") from self._error


def _answers(handler: Handler[Any], answer: object) -> list[object]:
    found = verdict(answer, repr(handler))
    return [found] if isinstance(found, Retry | Skip | DeadLetter) else [_survivor_of(handler, one) for one in found]


def _in_page(handler: Handler[Any], answer: object) -> object:
    """One event's answer as it stands in a page's list: none, one, or a list of several."""
    found = _answers(handler, answer)
    return found if len(found) > 1 else next(iter(found), None)


def _survivor_of(handler: Handler[Any], answer: object) -> object:
    """A verdict as it is; a Send with its command as the outbox will give it back."""
    if not isinstance(answer, Send):
        return answer
    mark = stored(type(answer.command))
    if mark is None or mark.kind != "command":
        raise Invalid(
            f"{handler!r} sends {_named(answer.command)}, which is no command: write @command('a.name') above it"
        )
    stream_of(answer.decider, answer.key)
    return Send(answer.decider, answer.key, _survivor(Schemas((), (type(answer.command),), ()), answer.command))


def _without_why(answer: object, wanted: object) -> object:
    if (
        isinstance(answer, Retry | Skip | DeadLetter)
        and type(answer) is type(wanted)
        and not getattr(wanted, "why", "")
    ):
        return replace(answer, why="")
    return answer


def _survivor(schemas: Schemas, value: Any) -> Any:
    """The value as it is read after it was stored."""
    return schemas.encode(value)[2]


def _matches(query: Query, event: Recorded[Any]) -> bool:
    return (not query.types or event.type in query.types) and set(query.tags) <= set(event.tags)


def _named(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


async def _within(seconds: float, work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await work


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    # The test itself runs in an event loop: the handler gets one of its own, in a thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
