"""The public face: send, get, find, read, settle, replay, run."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from foldlog import limits, runtime
from foldlog.errors import Invalid, Misconfigured, NotFound, Unavailable
from foldlog.flow import deadletter
from foldlog.flow.deadletter import Letter
from foldlog.flow.execute import Origin
from foldlog.flow.reading import Found, Wanted, events, find, get, row_in, row_key, rows_in
from foldlog.flow.travel import At, By
from foldlog.flow.view import View
from foldlog.model.clock import Clock, Ids
from foldlog.model.decider import Decider
from foldlog.model.handler import Handler
from foldlog.model.message import Receipt, Recorded, Send
from foldlog.model.principal import Principal
from foldlog.model.process import Process
from foldlog.model.projection import Projection
from foldlog.model.query import Query
from foldlog.system import System, build

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")


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
        if not isinstance(url, str) or not isinstance(parts, Sequence):
            raise Misconfigured("write App(url, parts): a text like 'sqlite:bank.db', and a list of parts")
        self.url, self.parts = url, tuple(parts)
        self._build: Callable[[], System] = lambda: build(
            url, self.parts, clock=clock, ids=ids, lease=lease, command_window=command_window
        )
        self._next: System | None = self._build()
        self._system: System | None = None
        self._worker: runtime.Worker | None = None

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
        if not isinstance(decider, Decider | str):
            raise Invalid(self.system.unlisted(decider, "a decider"))
        if principal is not None and not isinstance(principal, Principal):
            raise Invalid(f"bad principal {principal!r}: write Principal(actor)")
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
        at: At = None,
        by: By = "recorded",
    ) -> R | None: ...

    @overload
    async def get(
        self, part: Decider[Any, S, Any], key: str, *, tenant: str = "", at: At = None, by: By = "recorded"
    ) -> S: ...

    async def get(
        self,
        part: Projection[Any, Any] | Decider[Any, Any, Any],
        key: str,
        *,
        tenant: str = "",
        after: Receipt | None = None,
        timeout: float = limits.SETTLE,
        at: At = None,
        by: By = "recorded",
    ) -> Any:
        """A projection's row (None where there is none), or the state of a decider's entity as it is now.

        `after` waits until the projection has seen what a receipt stands for, `timeout` seconds at most. `at`, a
        position or a time with its zone, asks for the past instead: what is folded from the events up to there, by the
        time they were `recorded` (said at that time or before), or `occurred`. Errors: `Invalid` for a part that this
        app does not list, or an `at` that the log has not reached; `Unavailable` when waiting takes too long.
        """
        if isinstance(part, Decider):
            decision = self.system.decisions.get(part.category)
            if decision is None or decision.decider is not part:
                raise Invalid(self.system.unlisted(part, "a projection or a decider"))
            if at is not None or by != "recorded":
                return await self.system.travel.state(decision, key, tenant, at, by)
            return (await self.system.execute.state(decision, key, tenant))[0]
        view = self._view(part)
        if after is not None and not isinstance(after, Receipt):
            raise Invalid(f"bad after {after!r}: give the receipt that `send` returned")
        place = row_key(key, tenant)
        if at is not None or by != "recorded":
            if after is not None:
                raise Invalid("after= waits for what is new, at= asks for the past: leave one of them out")
            async with self.system.travel.rows(view, tenant, at, by, key) as store:
                return await row_in(store, view, view.table, place)
        seen = None
        if after is not None and after.position is not None and not view.inline:
            seen = await runtime.reached(self.system, self._worker, view, place, after.position, timeout)
        return await get(self.system.store, self.system.serving, view, place, seen)

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
        at: At = None,
        by: By = "recorded",
    ) -> list[Found[R]]:
        """Rows in order of a declared index, or of their keys, from `low` to `high`, both included; None is open.

        `at` and `by` ask for the past, as in `get`; each call folds the log anew. Errors: `Invalid` for an index that
        is not declared, a limit out of bounds, or an `at` that the log has not reached.
        """
        view = self._view(part)
        wanted = Wanted(index, low, high, limit, after, backward, tenant)
        wanted.check(view)
        if at is None and by == "recorded":
            return await find(self.system.store, self.system.serving, view, wanted)
        async with self.system.travel.rows(view, tenant, at, by) as store:
            return await rows_in(store, view, view.table, wanted)

    def read(
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
        query = Query(stream=query) if isinstance(query, str) else Query() if query is None else query
        if not isinstance(query, Query):
            raise Invalid(f"bad query {query!r}: write a stream's id, like 'account-17', or a Query")
        return events(self.system.store, query, after, limit, backward=backward)

    async def settle(self, timeout: float = limits.SETTLE) -> None:
        """Wait until every function has seen all there is, and what followed from it; for tests.

        What waits behind a dead letter counts as settled, what waits for a retry does not. Errors: `Unavailable` after
        `timeout` seconds; whatever a function has failed with for good.
        """
        if self._worker is None:
            raise Invalid("this app was opened without its functions; settle where they run")
        await self._worker.settle(self.system, timeout)

    async def dead_letters(
        self, part: Handler[Any] | Process[Any, Any] | Projection[Any, Any] | None = None, limit: int = limits.FIND
    ) -> list[Letter]:
        """Dead letters of one function, or of all."""
        return await deadletter.dead_letters(self.system.store, self._function(part), limit)

    async def replay(
        self,
        part: Handler[Any] | Process[Any, Any] | None = None,
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
        part: Handler[Any] | Process[Any, Any] | None = None,
        *,
        id: str | None = None,
        key: str | None = None,
        type: str | None = None,
    ) -> int:
        """Give dead letters up for good: one by its `id`, or all that match; returns how many. Errors as for replay."""
        count = await deadletter.discard(self.system.store, self._function(part), id=id, key=key, type=type)
        self._nudge()
        return count

    async def serve(
        self,
        ready: Callable[[], object] = lambda: None,
        *,
        stopped: Callable[[str, Exception], object] = lambda _name, _why: None,
    ) -> None:
        """Open, run the functions until SIGTERM or Ctrl-C, stop cleanly. A second signal ends at once.

        `ready()` is called when every function has begun; `stopped(name, why)` for each that stops for good, while the
        others go on. Errors: why the last one stopped, where none is left.
        """
        with runtime.until_signal() as stop:
            async with self:
                if self._worker is not None:
                    await self._worker.serve(stop, ready, stopped)

    def run(self) -> None:
        """Run the functions until SIGTERM or Ctrl-C. Logs go to standard error as JSON lines, where none are set up."""
        runtime.log_json(sys.stderr)
        asyncio.run(self.serve())

    @contextmanager
    def blocking(self, *, functions: bool = True) -> Iterator["Blocking"]:
        """The same app for programs that are not async: `with app.blocking() as b: b.send(...)`."""
        portal = runtime.Portal()
        try:
            portal.call(self._start(functions))
            try:
                yield Blocking(self, portal)
            finally:
                if not portal.forked:  # in a forked process what is open is the parent's
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
            self._worker = runtime.Worker(system)
            self._worker.start()

    async def _stop(self) -> None:
        system, worker = self.system, self._worker
        try:
            if worker is not None:
                await worker.stop()
        finally:
            self._system = self._worker = None
            try:
                await system.execute.finish()
            finally:
                await system.store.close()

    def _view(self, part: Projection[Any, Any]) -> View:
        view = self.system.views.get(part.name) if isinstance(part, Projection) else None
        if view is None or view.projection is not part:
            raise Invalid(self.system.unlisted(part, "a projection"))
        return view

    def _function(self, part: Handler[Any] | Process[Any, Any] | Projection[Any, Any] | None) -> str | None:
        if part is None:
            return None
        if isinstance(part, Projection):
            return self._view(part).name
        effect = self.system.effects.get(part.name) if isinstance(part, Handler | Process) else None
        if effect is None or effect.part is not part:
            raise NotFound(self.system.unlisted(part, "a handler, a process or a projection"))
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

    def __init__(self, app: App, portal: "runtime.Portal") -> None:
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
        at: At = None,
        by: By = "recorded",
    ) -> R | None: ...

    @overload
    def get(
        self, part: Decider[Any, S, Any], key: str, *, tenant: str = "", at: At = None, by: By = "recorded"
    ) -> S: ...

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
