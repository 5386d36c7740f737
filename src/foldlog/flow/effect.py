"""What is worked off by key, once for each event: a handler's calls, or a process's steps, as the lanes see them."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from foldlog.errors import Invalid, Misconfigured, Rejected
from foldlog.flow.inbox import Command, Item
from foldlog.model.clock import Clock
from foldlog.model.handler import Handler
from foldlog.model.message import Recorded, Send
from foldlog.model.process import Process
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.model.signature import Takes
from foldlog.model.stream import stream_of
from foldlog.ports.store import Append, RowChange, Store

log = logging.getLogger("foldlog.handler")


class Outcome(NamedTuple):
    """What came of an attempt: done with commands to follow; or failed, with when to try again at the earliest.

    `again` None leaves the pause to the schedule; `never` makes it a dead letter at once. `raised` says that the
    handler raised or took too long, which tells of the outside what a verdict does not. `rows` are committed together
    with the mark; `rings` is when the earliest timer among them is due, 0 for none.
    """

    commands: tuple[Command, ...] = ()
    error: str = ""
    again: float | None = None
    never: bool = False
    raised: bool = False
    rows: tuple[RowChange, ...] = ()
    rings: int = 0


class Call(NamedTuple):
    """One attempt: events, each with the item that it is, the number of the attempt, the fence, and what there is to
    work with."""

    events: Sequence[Recorded[Any]]
    items: Sequence[Item]
    number: int
    fence: int
    clock: Clock
    store: Store


class Effect:
    """A part that is worked off by key, with its types resolved.

    `name` is its function's, `what` names it in messages, `takes` are the events that concern it. `page` is how many
    events it takes in one call; `timed` says that it has timers.
    """

    page = 1
    timed = False
    breaker: Any = None
    after_dead = "wait"

    def __init__(self, part: Handler[Any] | Process[Any, Any], kind: str, takes: Takes) -> None:
        self.part = part
        self.what = f"{kind} {part.name!r}"
        self.name = f"{kind}.{part.name}"
        self.takes = takes
        self.retry, self.concurrency, self.start = part.retry, part.concurrency, part.start
        self.query = Query()
        self._schemas: Schemas | None = None
        self._keyless = False

    def bind(self, schemas: Schemas) -> None:
        """Learn the stored names of the events that concern it."""
        self._schemas = schemas
        self.query = Query(types=schemas.names(self.takes.types))

    @property
    def schemas(self) -> Schemas:
        """The types of the app that it is a part of. Errors: `Misconfigured` outside of one."""
        if self._schemas is None:
            raise Misconfigured(f"{self.what} runs outside an App")
        return self._schemas

    def own_keys(self, event: Recorded[Any]) -> Sequence[str]:
        """The keys whose order this event keeps; what `key` fails with is raised."""
        raise NotImplementedError

    def keys(self, event: Recorded[Any]) -> Sequence[str]:
        """The same; an event whose key cannot be told goes by its stream's key."""
        try:
            return self.own_keys(event)
        except Exception as error:
            # A key that fails for one event mostly fails for many: one traceback says it all.
            first, self._keyless = not self._keyless, True
            log.log(
                logging.ERROR if first else logging.DEBUG,
                "%s: the key of %s@%d cannot be told, so it is handled in the order of its stream: %r%s",
                self.name,
                event.stream,
                event.version,
                error,
                "; more of these are logged as debug" if first else "",
                exc_info=error if first else None,
                extra={"function": self.name, "stream": event.stream, "position": event.position},
            )
            return (event.key,)

    async def attempt(self, call: Call) -> list[Outcome] | Outcome:
        """Work on events once: an outcome for each, or a single one where the call failed as a whole.

        Errors: `Corrupt`, `Unavailable`; every other failure is an outcome.
        """
        raise NotImplementedError

    def answered(self, item: Item, refused: Rejected | None) -> Append | None:  # noqa: ARG002 - a handler hears nothing
        """What is recorded when a command was carried out or refused; None for nothing. Errors: `Invalid`."""
        return None

    def stored(self, send: Send) -> Command:
        """A command as it stands in the outbox. Errors: `Invalid`, `TooLarge`."""
        mark, body, _ = self.schemas.encode(send.command)
        if mark.kind != "command":
            raise Invalid(f"{self.what} sends {mark.name!r}, which is an event: send a command")
        stream_of(send.decider, send.key)
        return Command(send.decider, send.key, mark.name, mark.version, msgspec.Raw(body), send.insist)
