"""One call of a handler: its answer, its verdicts or its failure, as one outcome for each event it was given."""

import asyncio
import inspect
import logging
from collections.abc import Sequence
from typing import Any

from foldlog import limits
from foldlog.errors import Corrupt, Invalid, Misconfigured, Undecodable
from foldlog.flow.effect import Call, Effect, Outcome
from foldlog.flow.inbox import told
from foldlog.model.handler import Context, DeadLetter, Handler, Retry, Skip
from foldlog.model.message import Recorded, to_datetime
from foldlog.model.principal import Principal
from foldlog.model.signature import keyed_by_envelope, taken, wants
from foldlog.model.stream import check_text
from foldlog.model.thread import in_thread
from foldlog.model.verdict import verdict, verdicts

log = logging.getLogger("foldlog.handler")


class Handling(Effect):
    """A handler with its types resolved, ready to be called."""

    def __init__(self, handler: Handler[Any]) -> None:
        what = f"handler {handler.name!r}"
        super().__init__(handler, "handler", taken(handler.function, 0, what, "event", handler.on, lists=True))
        self.handler = handler
        if handler.page is not None and not self.takes.listed:
            raise Misconfigured(f"{what}: page= is for a handler of pages: let it take list[...] of its events")
        self.page = (handler.page or limits.HANDLER_PAGE) if self.takes.listed else 1
        self.breaker, self.after_dead = handler.breaker, handler.after_dead
        self._context = wants(handler.function, 1, Context, what)
        self._blocking = not inspect.iscoroutinefunction(handler.function)
        self._by_envelope = handler.key is not None and keyed_by_envelope(handler.key, what)

    def own_keys(self, event: Recorded[Any]) -> Sequence[str]:
        """One key, whose order this event keeps; what the handler's `key` fails with is raised."""
        if self.handler.key is None:
            return (event.key,)
        found = self.handler.key(event if self._by_envelope else event.data)
        return (check_text("handler key", found, limits.KEY_BYTES),)

    def arguments(self, events: Sequence[Recorded[Any]], context: Context) -> tuple[Any, ...]:
        """What the handler is called with. Errors: `Undecodable`."""
        given: list[Any] = list(events) if self.takes.recorded else [event.data for event in events]
        first = given if self.takes.listed else given[0]
        return (first, context) if self._context else (first,)

    async def attempt(self, call: Call) -> list[Outcome] | Outcome:
        """Call the handler once. Only `Corrupt` storage is raised; every other failure is an outcome."""
        events = call.events
        patience = asyncio.timeout(self.handler.timeout)
        try:
            arguments = self.arguments(events, self._surroundings(call))
        except Undecodable as error:
            return Outcome(error=told(error))
        try:
            async with patience:
                if self._blocking:
                    answer = await in_thread(self.handler.function, *arguments)
                else:
                    answer = await self.handler.function(*arguments)
            _stop_if_cancelled()
        except Corrupt as error:
            if not isinstance(error, Undecodable):
                raise
            return Outcome(error=told(error), raised=True)
        except asyncio.CancelledError as error:
            _stop_if_cancelled()
            # The handler's own: something that it waited for was cancelled.
            return Outcome(error=told(error), raised=True)
        except Exception as error:
            _stop_if_cancelled()
            text = told(error)
            if patience.expired():  # last, because lists and logs show the last line
                text = told(f"{text.rstrip()}\nthe attempt took longer than timeout={self.handler.timeout:g} s")
            return Outcome(error=text, raised=True)
        return self._outcomes(answer, len(events))

    def _surroundings(self, call: Call) -> Context:
        events, number, fence = call.events, call.number, call.fence
        now, first = to_datetime(call.clock.now()), events[0]
        if not self.takes.listed:
            meta, key = first.meta, f"{self.name}:{first.id}"
            return Context(now, Principal(meta.actor), meta.correlation, first.tenant, first, number, key, fence)
        actors, correlations = {event.meta.actor for event in events}, {event.meta.correlation for event in events}
        actor = actors.pop() if len(actors) == 1 else ""
        correlation = correlations.pop() if len(correlations) == 1 else ""
        return Context(now, Principal(actor), correlation, first.tenant, None, number, "", fence)

    def _outcomes(self, answer: Any, count: int) -> list[Outcome] | Outcome:
        if not self.takes.listed:
            return [self._outcome(answer)]
        try:
            found = [self._outcome(one) for one in verdicts(answer, count, self.what)]
        except Invalid as error:
            return Outcome(error=told(error))
        if sum(len(bytes(one.body)) for outcome in found for one in outcome.commands) > limits.SENDS_BYTES:
            return Outcome(error=f"{self.what} answered a page with commands of over {limits.SENDS_BYTES:,} bytes")
        return found

    def _outcome(self, answer: Any) -> Outcome:
        try:
            found = verdict(answer, self.what)
            match found:
                case Retry(after, why):
                    return Outcome(error=told(why) or f"asked to be tried again after {after} seconds", again=after)
                case Skip(why):
                    log.info("skipped", extra={"function": self.name, "why": why})
                    return Outcome()
                case DeadLetter(why):
                    return Outcome(error=told(why) or "the handler gave up", never=True)
            commands = tuple([self.stored(send) for send in found])
        except Exception as error:  # an answer may hold anything
            return Outcome(error=told(error))
        if sum(len(bytes(command.body)) for command in commands) > limits.SENDS_BYTES:
            return Outcome(error=f"{self.what} answered commands of over {limits.SENDS_BYTES:,} bytes")
        return Outcome(commands)


def _stop_if_cancelled() -> None:
    """A handler may catch its cancellation, and answer or fail instead; the lane it runs in is over all the same."""
    if (task := asyncio.current_task()) is None or task.cancelling():
        raise asyncio.CancelledError
