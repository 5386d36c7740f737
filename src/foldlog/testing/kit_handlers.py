"""given/when/then for handlers; `given` of kit.py leads here."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from foldlog.errors import Invalid
from foldlog.flow.attempt import Handling
from foldlog.model.event import stored
from foldlog.model.handler import DeadLetter, Handler, Retry, Skip
from foldlog.model.message import Send
from foldlog.model.schema import Schemas
from foldlog.model.stream import stream_of
from foldlog.model.verdict import verdict, verdicts
from foldlog.system import Resolved
from foldlog.testing.difference import compare
from foldlog.testing.surroundings import Record, Surroundings, named, survivor

X = TypeVar("X", bound=BaseException)


class GivenHandler:
    """A handler, which remembers nothing."""

    def __init__(self, resolved: Resolved, handler: Handler[Any], around: Surroundings) -> None:
        self._handler = handler
        effect = resolved.effects[handler.name]
        assert isinstance(effect, Handling)
        self._effect = effect
        self._around = around
        self._record = Record(resolved.schemas(), repr(handler), "given", around)

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
            effect.keys(recorded)
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
            f"{handler!r} sends {named(answer.command)}, which is no command: write @command('a.name') above it"
        )
    stream_of(answer.decider, answer.key)
    return Send(answer.decider, answer.key, survivor(Schemas((), (type(answer.command),), ()), answer.command))


def _without_why(answer: object, wanted: object) -> object:
    if (
        isinstance(answer, Retry | Skip | DeadLetter)
        and type(answer) is type(wanted)
        and not getattr(wanted, "why", "")
    ):
        return replace(answer, why="")
    return answer


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
