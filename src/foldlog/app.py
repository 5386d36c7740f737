"""The public face: send, get, find, read, settle, replay, run."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from foldlog import limits
from foldlog.errors import Invalid, NotFound, Unavailable
from foldlog.flow import deadletter
from foldlog.flow.deadletter import Letter
from foldlog.flow.execute import Origin
from foldlog.flow.index import index_value
from foldlog.flow.partition import partition_of
from foldlog.flow.project import View
from foldlog.model.clock import Clock, Ids
from foldlog.model.decider import Decider
from foldlog.model.handler import Handler
from foldlog.model.message import Receipt, Recorded, Send
from foldlog.model.principal import Principal
from foldlog.model.projection import Projection
from foldlog.model.query import Query
from foldlog.model.stream import check_limit, check_tenant, check_text
from foldlog.ports.store import Range, Row, RowKey
from foldlog.runtime.logs import log_json
from foldlog.runtime.portal import Portal
from foldlog.runtime.serve import until_signal
from foldlog.runtime.worker import Worker, reached
from foldlog.system import System, build

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A row that `find` found: its key and value; give the last one as `after` to read on."""

    key: str
    value: R
    row: Row


class App:
    """A list of parts on one store.

    `url` is where the log lives (`memory:`, `sqlite:bank.db`); `parts` is what there is: deciders, projections,
    handlers, upcasts. Everything is checked here; nothing is opened before `async with app`, `app.blocking()` or
    `app.run()`. `clock` and `ids` are for tests; `lease` is how long (seconds) a process that died keeps its share;
    `command_window` how long (seconds) a command id is remembered. Errors: `Misconfigured`, naming every fault.
    """

    def __init__(
        self,
        url: str,
        parts: Sequence[object],
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        lease: float = limits.LEASE,
        command_window: float = limits.COMMAND_WINDOW,
    ) -> None:
        self.url, self.parts = url, tuple(parts)
        self._build: Callable[[], System] = lambda: build(
            url, self.parts, clock=clock, ids=ids, lease=lease, command_window=command_window
        )
        self._next: System | None = self._build()
        self._system: System | None = None
        self._worker: Worker | None = None

    @property
    def system(self) -> System:
        """The open system below, for tools. Errors: `Unavailable` while the app is not open."""
        if self._system is None:
            raise Unavailable("the app is not open: write `async with app:`, or use app.blocking() or app.run()")
        return self._system

    @asynccontextmanager
    async def open(self, *, functions: bool = True) -> AsyncIterator["App"]:
        """Open the store and run the functions; `functions=False` only sends and reads, and leaves them to others."""
        await self._start(functions)
        try:
            yield self
        finally:
            await self._stop()

    async def __aenter__(self) -> Self:
        await self._start(functions=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def send(
        self,
        decider: Decider[C, S, E],
        key: str,
        command: C,
        *,
        command_id: str = "",
        tenant: str = "",
        principal: Principal | None = None,
        correlation: str = "",
        traceparent: str = "",
        headers: dict[str, Any] | None = None,
    ) -> Receipt:
        """Decide a command; when this returns, what follows is stored durably.

        The same `command_id` a second time, within the window, does nothing and gives the first answer. Errors:
        `Rejected` by the decider; `Invalid` for what breaks a rule; `Conflict` after too many races; `Unavailable`.
        """
        origin = Origin(tenant, command_id, principal or Principal(), correlation, "", traceparent, headers or {})
        return await self.system.execute.send(Send(decider, key, command), origin)

    @overload
    async def get(
        self,
        part: Projection[R, Any],
        key: str,
        *,
        tenant: str = "",
        after: Receipt | None = None,
        timeout: float = limits.SETTLE,
    ) -> R | None: ...

    @overload
    async def get(self, part: Decider[Any, S, Any], key: str, *, tenant: str = "") -> S: ...

    async def get(
        self,
        part: Projection[Any, Any] | Decider[Any, Any, Any],
        key: str,
        *,
        tenant: str = "",
        after: Receipt | None = None,
        timeout: float = limits.SETTLE,
    ) -> Any:
        """A projection's row (None where there is none), or the state of a decider's entity as it is now.

        `after` waits until the projection has seen what a receipt stands for, `timeout` seconds at most. Errors:
        `Invalid` for a part that this app does not list; `Unavailable` when waiting takes too long.
        """
        if isinstance(part, Decider):
            decision = self.system.decisions.get(part.category)
            if decision is None or decision.decider is not part:
                raise Invalid(f"{part!r} is not in this app's list of parts")
            return (await self.system.execute.state(decision, key, tenant))[0]
        view = self._view(part)
        row_key = RowKey(check_tenant(tenant), check_text("row key", key, limits.KEY_BYTES))
        if after is not None and after.position is not None and not view.inline:
            await reached(self.system, self._worker, view, partition_of(*row_key), after.position, timeout)
        return view.decode((await self.system.store.get(view.table, [row_key])).get(row_key))

    async def find(
        self,
        part: Projection[R, Any],
        index: str | None = None,
        low: Any = None,
        high: Any = None,
        *,
        limit: int = limits.FIND,
        after: Found[R] | None = None,
        backward: bool = False,
        tenant: str = "",
    ) -> list[Found[R]]:
        """Rows in order of a declared index, or of their keys, from `low` to `high`, both included; None is open.

        Errors: `Invalid` for an index that is not declared, or a limit out of bounds.
        """
        view = self._view(part)
        check_limit(limit, limits.FIND_MAX)
        if index is not None and index not in view.table.indexes:
            known = ", ".join(view.table.indexes) or "none"
            raise Invalid(f"{part!r} has no index {index!r}; declared: {known}")
        found: list[Found[R]] = []
        row = after.row if after else None
        more = True
        while more and len(found) < limit:
            span = Range(
                check_tenant(tenant),
                index,
                index_value(low),
                index_value(high),
                row,
                limit - len(found),
                backward,
            )
            rows, more = await self.system.store.scan(view.table, span)
            for row in rows:
                value = view.decode(row)
                if value is not None:
                    found.append(Found(row.key.key, value, row))
        return found

    async def read(
        self,
        query: Query | str | None = None,
        *,
        after: int = 0,
        limit: int | None = None,
        backward: bool = False,
    ) -> AsyncIterator[Recorded[Any]]:
        """Recorded events in order, page by page: of a stream (its id as text), of a query, or of the whole log.

        `after` is a version for a stream and a position for all else, excluded; `limit` None reads to the end as it is
        when the last page is read. Errors: `Invalid`.
        """
        if limit is not None:
            check_limit(limit, 2**63 - 1)
        if type(after) is not int or after < 0:
            raise Invalid(f"bad after {after!r}: write a position or version, from 0")
        query = Query(stream=query) if isinstance(query, str) else query or Query()
        store = self.system.store
        left = limit
        more = True
        while more and left != 0:
            page = await store.read(query, after, min(left or limits.PAGE, limits.PAGE), backward=backward)
            for event in page.events:
                yield event
            more = page.more
            if page.events:
                after = page.events[-1].version if query.stream else page.events[-1].position
                left = None if left is None else left - len(page.events)

    async def settle(self, timeout: float = limits.SETTLE) -> None:
        """Wait until every function has seen all there is, and what followed from it; for tests.

        What waits behind a dead letter counts as settled, what waits for a retry does not. Errors: `Unavailable` after
        `timeout` seconds; whatever a function has failed with for good.
        """
        if self._worker is None:
            raise Invalid("this app was opened without its functions; settle where they run")
        await self._worker.settle(self.system, timeout)

    async def dead_letters(
        self, part: Handler[Any] | Projection[Any, Any] | None = None, limit: int = limits.FIND
    ) -> list[Letter]:
        """Dead letters of one function, or of all."""
        return await deadletter.dead_letters(self.system.store, self._function(part), limit)

    async def replay(
        self,
        part: Handler[Any] | None = None,
        *,
        id: str | None = None,
        key: str | None = None,
        type: str | None = None,
    ) -> int:
        """Try dead letters again: one by its `id`, or all that match; returns how many.

        Errors: `NotFound`, `Invalid`.
        """
        count = await deadletter.replay(self.system.store, self._function(part), id=id, key=key, type=type)
        self._nudge()
        return count

    async def discard(
        self,
        part: Handler[Any] | None = None,
        *,
        id: str | None = None,
        key: str | None = None,
        type: str | None = None,
    ) -> int:
        """Give dead letters up for good: one by its `id`, or all that match; returns how many. Errors as for replay."""
        count = await deadletter.discard(self.system.store, self._function(part), id=id, key=key, type=type)
        self._nudge()
        return count

    async def serve(self, ready: Callable[[], object] | None = None) -> None:
        """Open, call `ready`, run the functions until SIGTERM or Ctrl-C, stop cleanly. A second signal ends at once."""
        with until_signal() as stop:
            async with self:
                if ready is not None:
                    ready()
                await stop.wait()

    def run(self) -> None:
        """Run the functions until SIGTERM or Ctrl-C. Logs go to standard error as JSON lines, where none are set up."""
        log_json(sys.stderr)
        asyncio.run(self.serve())

    @contextmanager
    def blocking(self, *, functions: bool = True) -> Iterator["Blocking"]:
        """The same app for programs that are not async: `with app.blocking() as b: b.send(...)`."""
        portal = Portal()
        try:
            portal.call(self._start(functions))
            try:
                yield Blocking(self, portal)
            finally:
                portal.call(self._stop())
        finally:
            portal.close()

    async def _start(self, functions: bool) -> None:
        if self._system is not None:
            raise Invalid("the app is open already")
        # Set before anything is awaited, so that of two tasks that open it one is refused.
        self._system, self._next = system, _ = self._next or self._build(), None
        try:
            await system.store.open()
        except BaseException:
            self._system = None
            raise
        if functions:
            self._worker = Worker(system)
            self._worker.start()

    async def _stop(self) -> None:
        system, worker = self.system, self._worker
        try:
            if worker is not None:
                await worker.stop()
        finally:
            self._system = self._worker = None
            await system.store.close()

    def _view(self, part: Projection[Any, Any]) -> View:
        view = self.system.views.get(part.name) if isinstance(part, Projection) else None
        if view is None or view.projection is not part:
            raise Invalid(f"{part!r} is not in this app's list of parts")
        return view

    def _function(self, part: Handler[Any] | Projection[Any, Any] | None) -> str | None:
        if part is None:
            return None
        if isinstance(part, Projection):
            return self._view(part).name
        effect = self.system.effects.get(part.name)
        if effect is None or effect.handler is not part:
            raise NotFound(f"{part!r} is not in this app's list of parts")
        return effect.name

    def _nudge(self) -> None:
        for runner in self._worker.runners.values() if self._worker else ():
            runner.nudge()


def _blocking(method: Callable[Concatenate[App, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate["Blocking", P], T]:
    def call(self: "Blocking", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.portal.call(method(self.app, *args, **kwargs))

    call.__doc__ = method.__doc__
    return call


class Blocking:
    """An open app behind a portal: each method waits for the App's method of that name. Safe to use from threads."""

    def __init__(self, app: App, portal: Portal) -> None:
        self.app, self.portal = app, portal

    send = _blocking(App.send)
    find = _blocking(App.find)
    settle = _blocking(App.settle)
    dead_letters = _blocking(App.dead_letters)
    replay = _blocking(App.replay)
    discard = _blocking(App.discard)

    @overload
    def get(
        self,
        part: Projection[R, Any],
        key: str,
        *,
        tenant: str = "",
        after: Receipt | None = None,
        timeout: float = limits.SETTLE,
    ) -> R | None: ...

    @overload
    def get(self, part: Decider[Any, S, Any], key: str, *, tenant: str = "") -> S: ...

    def get(self, part: Any, key: str, **options: Any) -> Any:
        """See `App.get`."""
        return self.portal.call(self.app.get(part, key, **options))

    def read(self, query: Query | str | None = None, **options: Any) -> Iterator[Recorded[Any]]:
        """See `App.read`."""
        events = self.app.read(query, **options)

        async def some() -> list[Recorded[Any]]:
            page: list[Recorded[Any]] = []
            async for event in events:
                page.append(event)
                if len(page) == limits.PAGE:
                    break
            return page

        while page := self.portal.call(some()):
            yield from page
