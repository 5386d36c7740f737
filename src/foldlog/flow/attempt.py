"""One call of a handler: its answer, its verdict or its failure, as one value."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Corrupt, Invalid, Misconfigured, TooLarge, Undecodable
from foldlog.flow.inbox import Command, told
from foldlog.model.clock import Clock
from foldlog.model.handler import Context, DeadLetter, Handler, Retry, Skip
from foldlog.model.message import Recorded, Send, sends, to_datetime
from foldlog.model.principal import Principal
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.model.signature import Takes, keyed_by_envelope, taken, wants
from foldlog.model.stream import check_text, stream_of

log = logging.getLogger("foldlog.handler")


class Outcome(NamedTuple):
    """What came of an attempt: done with commands to follow; or failed, with when to try again at the earliest.

    `again` None leaves the pause to the handler's schedule; `never` makes it a dead letter at once.
    """

    commands: tuple[Command, ...] = ()
    error: str = ""
    again: float | None = None
    never: bool = False


class Effect:
    """A handler with its types resolved, ready to be called."""

    def __init__(self, handler: Handler[Any]) -> None:
        what = f"handler {handler.name!r}"
        self.handler = handler
        self.name = f"handler.{handler.name}"
        self.takes: Takes = taken(handler.function, 0, what, "event", handler.on)
        self._context = wants(handler.function, 1, Context, what)
        self._blocking = not inspect.iscoroutinefunction(handler.function)
        self._by_envelope = handler.key is not None and keyed_by_envelope(handler.key, what)
        self.query = Query()
        self._schemas: Schemas | None = None

    def bind(self, schemas: Schemas) -> None:
        """Learn the stored names of the events that concern it."""
        self._schemas = schemas
        self.query = Query(types=schemas.names(self.takes.types))

    def key(self, event: Recorded[Any]) -> str:
        """The key whose order this event keeps. An event whose key cannot be told goes by its stream's key."""
        if self.handler.key is None:
            return event.key
        try:
            found = self.handler.key(event if self._by_envelope else event.data)
            return check_text("handler key", found, limits.KEY_BYTES)
        except Exception:
            log.exception("the key of an event cannot be told", extra={"function": self.name, "stream": event.stream})
            return event.key

    async def attempt(self, event: Recorded[Any], number: int, fence: int, clock: Clock) -> Outcome:
        """Call the handler once. Only `Corrupt` storage is raised; every other failure is an outcome."""
        patience = asyncio.timeout(self.handler.timeout)
        try:
            meta = event.meta
            context = Context(
                to_datetime(clock.now()),
                Principal(meta.actor),
                meta.correlation,
                event.tenant,
                event,
                number,
                f"{self.name}:{event.id}",
                fence,
            )
            argument = event if self.takes.recorded else event.data
            arguments = (argument, context) if self._context else (argument,)
            async with patience:
                if self._blocking:
                    answer = await _in_thread(self.handler.function, *arguments)
                else:
                    answer = await self.handler.function(*arguments)
            _stop_if_cancelled()
            return self._outcome(answer)
        except Undecodable as error:
            return Outcome(error=told(error))
        except Corrupt:
            raise
        except asyncio.CancelledError as error:
            _stop_if_cancelled()
            return Outcome(error=told(error))  # the handler's own: something that it waited for was cancelled
        except Exception as error:
            _stop_if_cancelled()
            late = f"no answer within {self.handler.timeout} seconds\n" if patience.expired() else ""
            return Outcome(error=late + told(error))

    def _outcome(self, answer: Any) -> Outcome:
        match answer:
            case None:
                return Outcome()
            case Retry(after, why):
                return Outcome(error=told(why) or f"asked to be tried again after {after} seconds", again=after)
            case Skip(why):
                log.info("skipped", extra={"function": self.name, "why": why})
                return Outcome()
            case DeadLetter(why):
                return Outcome(error=told(why) or "the handler gave up", never=True)
        found = sends(answer)
        if found is None:
            raise Invalid(
                f"handler {self.handler.name!r} answered {type(answer).__name__}: return None, Send, a list of Send, "
                "Retry, Skip or DeadLetter"
            )
        if len(found) > limits.SENDS:
            raise Invalid(f"handler {self.handler.name!r} answered {len(found)} commands; the limit is {limits.SENDS}")
        commands = tuple(self._stored(send) for send in found)
        if sum(len(bytes(command.body)) for command in commands) > limits.SENDS_BYTES:
            raise TooLarge(f"handler {self.handler.name!r} answered commands of over {limits.SENDS_BYTES:,} bytes")
        return Outcome(commands)

    def _stored(self, send: Send) -> Command:
        if self._schemas is None:
            raise Misconfigured(f"handler {self.handler.name!r} runs outside an App")
        mark, body, _ = self._schemas.encode(send.command)
        if mark.kind != "command":
            raise Invalid(f"handler {self.handler.name!r} sends {mark.name!r}, which is an event: send a command")
        stream_of(send.decider, send.key)
        return Command(send.decider, send.key, mark.name, mark.version, msgspec.Raw(body))


def _stop_if_cancelled() -> None:
    """A handler may catch its cancellation, and answer or fail instead; the lane it runs in is over all the same."""
    if (task := asyncio.current_task()) is None or task.cancelling():
        raise asyncio.CancelledError


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's answer, from a thread of its own.

    Not from a pool: handlers that hang would fill it, and others would time out in its queue. Daemon, because a thread
    cannot be stopped and must not keep the process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = copy_context()

    def settle(answer: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)

    def run() -> None:
        answer, error = None, None
        try:
            answer = context.run(function, *arguments)
        except BaseException as raised:
            error = RuntimeError("a handler raised StopIteration") if isinstance(raised, StopIteration) else raised
        with suppress(RuntimeError):  # the loop is closed; nobody waits
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=run, name="foldlog-handler", daemon=True).start()
    return await future
