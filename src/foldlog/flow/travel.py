"""The past: states, and rows of views, as they were; by the same folds over the log as it was cut.

Nothing of the past is kept. A state is folded from its stream; rows by the same `Project` that keeps the live ones,
into a throw-away store. By position the log is cut; by time it is filtered, because no order of times is promised:
events come in the order of the log, and those of a later time are passed over.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from foldlog import limits
from foldlog.errors import Corrupt, Invalid, Undecodable
from foldlog.flow.lease import Lease
from foldlog.flow.partition import ALL
from foldlog.flow.project import Project
from foldlog.flow.state import Decision
from foldlog.flow.subscribe import Fed, Progress
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.model.message import Recorded, to_micros
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.model.stream import check_tenant, check_text, stream_of
from foldlog.ports.store import RowKey, Store

At = int | datetime | None
"""A position, or a time with its zone."""
By = Literal["recorded", "occurred"]
"""Which time of an event a moment is compared with."""


class Scratch(Protocol):
    """Makes a store, open, that is gone when it is left; a large one does not live in memory."""

    def __call__(self, *, large: bool) -> AbstractAsyncContextManager[Store]: ...


class Cut(NamedTuple):
    """Which events count: those up to position `head`, and, where a time was said, none recorded after `until` or
    occurred after `occurred` (microseconds since 1970)."""

    head: int
    until: datetime | None = None
    occurred: int | None = None

    def takes(self, event: Recorded[Any]) -> bool:
        """Whether an event counts, of those that a query with this `until` finds."""
        if event.position > self.head:
            return False
        if self.occurred is None:
            return True
        occurred = event.meta.occurred
        return (event.time if occurred is None else occurred) <= self.occurred


def _untold(_position: int, _head: int) -> None:
    """Nobody wants to hear how far it is."""


class Travel:
    """Reads of the past of one store. `told` hears of each page: the position reached, and the one to be reached."""

    def __init__(self, store: Store, schemas: Schemas, clock: Clock, scratch: Scratch) -> None:
        self._store, self._schemas, self._clock, self._scratch = store, schemas, clock, scratch
        self.told: Callable[[int, int], object] = _untold

    async def cut(self, at: At, by: By = "recorded") -> Cut:
        """What a position or a time stands for; events that come after this call do not count.

        Errors: `Invalid` for a position below 0 or beyond the log's end, a time without a zone, anything else.
        """
        if by not in {"recorded", "occurred"}:
            raise Invalid(f"bad by {by!r}: write recorded or occurred")
        head = await self._store.head()
        if isinstance(at, datetime):
            if at.utcoffset() is None:
                raise Invalid(f"{at} has no time zone: write one, as in 2026-01-31T12:00:00Z")
            return Cut(head, at) if by == "recorded" else Cut(head, occurred=to_micros(at))
        if at is None:
            raise Invalid("by= says which time at= means: write at= too")
        if type(at) is not int:
            raise Invalid(f"bad at {at!r}: write a position, or a datetime with its zone")
        if by == "occurred":
            raise Invalid("by='occurred' goes with a time: the log has one order of positions")
        if not 0 <= at <= head:
            raise Invalid(f"bad at {at}: the log has positions from 0, before the first event, to {head}, its last")
        return Cut(at)

    async def state(self, decision: Decision, key: str, tenant: str, at: At, by: By = "recorded") -> Any:
        """The state of an entity as it was. Errors: those of `cut`; `Invalid` for a decider with a scope."""
        decider = decision.decider
        if decider.scope is not None:
            raise Invalid(f"{decider} decides by tags: its state belongs to a command, not to a key")
        state = deepcopy(decider.initial)
        query = Query(stream=stream_of(decider.category, key), tenant=check_tenant(tenant))
        async for fed in self._pages(query, await self.cut(at, by)):
            state = decision.fold(state, fed.events)
        return state

    @asynccontextmanager
    async def rows(
        self, view: View, tenant: str, at: At, by: By = "recorded", key: str | None = None
    ) -> AsyncIterator[Store]:
        """A store that holds a tenant's rows of the view as they were; with `key` this row and no other.

        A fold that raises leaves its row as it was before, as in a live run. Errors: those of `cut`.
        """
        cut = await self.cut(at, by)
        query, by_stream = replace(view.query, tenant=check_tenant(tenant)), view.projection.key is None
        if key is not None:
            view = _OneRow(view, RowKey(tenant, check_text("row key", key, limits.KEY_BYTES)))
            if by_stream:
                query = await self._of_key(query, key)
        async with self._scratch(large=key is None) as store:
            lease = Lease(store, self._clock, view.name, "travel")
            await lease.look()
            await lease.take(ALL, 0)
            # What fails here has failed in the live run, and was told then.
            project = Project(store, view, self._clock, lease, Progress(), logging.DEBUG)
            await project.join(ALL)
            async for fed in self._pages(query, cut):
                events = fed.events
                if key is not None and by_stream:
                    events = [event for event in events if event.key == key]
                if events:
                    await project.page(Fed(events, fed.upto))
            yield store

    async def _of_key(self, query: Query, key: str) -> Query:
        """The one stream that can have events of a key, where all events of the query's types are of one category."""
        await self._store.read(replace(query, tenant=None), 0, 1)  # after it, the categories of all of them are known
        known = self._schemas.categories(query.types)
        return replace(query, stream=stream_of(*known, key)) if len(known) == 1 else query

    async def _pages(self, query: Query, cut: Cut) -> AsyncIterator[Fed]:
        """The events that count, page by page in order."""
        query = replace(query, until=cut.until)
        after, more = 0, True
        while more:
            page = await self._store.read(query, after, limits.FOLD_PAGE)
            if page.events:
                last = page.events[-1]
                after = last.version if query.stream else last.position
                more = page.more and last.position < cut.head
                self.told(min(last.position, cut.head) if more else cut.head, cut.head)
                yield Fed([event for event in page.events if cut.takes(event)], last.position)
            else:
                more = page.more
        self.told(cut.head, cut.head)


class _OneRow(View):
    """A view that knows of one row only."""

    def __init__(self, view: View, row: RowKey) -> None:
        vars(self).update(vars(view))
        self._row = row

    def keys(self, event: Recorded[Any], data: Any) -> list[RowKey]:
        """The row, where the event goes into it. An event whose key cannot be told goes into none, as it did live."""
        try:
            found = super().keys(event, data)
        except Exception as error:
            if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
                raise
            return []
        return [key for key in found if key == self._row]
