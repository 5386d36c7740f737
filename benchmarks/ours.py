"""Our side: a small domain, an app on a store, and appends below the app, through `store.commit`."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from benchmarks.sample import ACTOR, CAUSATION, CORRELATION, HEADERS, TRACEPARENT, line
from foldlog import App, Decider, command, event
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.model.principal import Principal
from foldlog.ports.store import Append, Batch

T = TypeVar("T")
PRINCIPAL = Principal(ACTOR)
FILL_STREAMS, FILL_EVENTS = 100, 10  # in one commit


@event("order.line-added")
class LineAdded:
    order: str
    customer: str
    sku: str
    quantity: int
    note: str


@command("order.add-line")
class AddLine:
    order: str
    customer: str
    sku: str
    quantity: int
    note: str


def decide(command: AddLine, _total: int) -> list[LineAdded]:
    return [LineAdded(command.order, command.customer, command.sku, command.quantity, command.note)]


def evolve(total: int, event: LineAdded) -> int:
    return total + event.quantity


order = Decider("order", decide, evolve, initial=0)


class Ours:
    """An open app and the loop that it lives on."""

    def __init__(self, url: str, *functions: Any, run: bool = True) -> None:
        """`functions` are run here, unless `run` says that another process does it."""
        self.app = App(url, [order, *functions])
        self._functions = bool(functions) and run
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()

    def __enter__(self) -> Self:
        self.run(self._open.enter_async_context(self.app.open(functions=self._functions)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run(self._open.aclose())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def drafts(self, events: Iterable[LineAdded], *, tagged: bool = False) -> list[Draft]:
        """The events as an append takes them: encoded and checked as the app does it, with a full envelope."""
        system = self.app.system
        command_id = system.ids()
        drafts = []
        for index, added in enumerate(events):
            mark, body, _ = system.schemas.encode(added)
            tags = (f"customer:{added.customer}", f"sku:{added.sku}") if tagged else ()
            meta = Meta(command_id, index, CORRELATION, CAUSATION, ACTOR, TRACEPARENT, None, tags, "", HEADERS)
            drafts.append(Draft(mark.name, mark.version, body, encode_meta(meta), tags))
        return drafts

    async def append(self, stream: str, version: int, events: Sequence[LineAdded], *, tagged: bool = False) -> int:
        """Append through the store, on the condition of the stream's version; the new version."""
        append = Append(stream, self.drafts(events, tagged=tagged), version)
        (done,) = await self.app.system.store.commit(Batch((append,)))
        return done.version

    async def send(self, key: str, command: AddLine, command_id: str = "") -> None:
        await self.app.send(
            order,
            key,
            command,
            command_id=command_id,
            principal=PRINCIPAL,
            correlation=CORRELATION,
            traceparent=TRACEPARENT,
            headers=HEADERS,
        )

    async def fill(self, events: int, streams: int) -> None:
        """Write `events` events over `streams` streams, a few to each in turn, as fast as it goes."""
        store = self.app.system.store
        done = 0
        while done < events:
            appends = []
            for number in range(min(FILL_STREAMS, streams)):
                stream = (done // FILL_EVENTS + number) % streams
                first = done + number * FILL_EVENTS
                batch = [added(one) for one in range(first, first + FILL_EVENTS)]
                appends.append(Append(f"order-{stream}", self.drafts(batch)))
            await store.commit(Batch(tuple(appends)))
            done += len(appends) * FILL_EVENTS


def added(number: int) -> LineAdded:
    return LineAdded(*line(number))
