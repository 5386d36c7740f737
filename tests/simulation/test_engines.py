"""The same steps on the memory engine and on each other one: the same answers, refusals, log and rows."""

import asyncio
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from foldlog.engines.memory import MemoryStore
from foldlog.engines.postgres import PostgresStore
from foldlog.engines.sqlite import SqliteStore
from foldlog.errors import Conflict, FoldlogError
from foldlog.model.message import Draft, Kind, to_datetime
from foldlog.model.query import Query
from foldlog.model.stream import ANY, EXISTS
from foldlog.ports.store import Append, Batch, Check, Condition, Delete, Put, Range, RowChange, RowKey, Store, Table
from tests.servers import Postgres

ROWS = Table("rows", indexes=("size", "name"))
EXPIRING = Table("expiring", expiring=True)

tenants = st.sampled_from(["", "b"])
streams = st.sampled_from(["cart-1", "cart-2", "user-1", "user-ü"])
types = st.sampled_from(["t.a", "t.b", "t.c"])
tags = st.lists(st.sampled_from(["x:1", "x:2", "y:1"]), max_size=2, unique=True).map(tuple)
drafts = st.builds(Draft, types, st.integers(1, 2), st.binary(max_size=20), st.just(b"{}"), tags)
queries = st.one_of(
    st.builds(Query),
    st.builds(Query, stream=streams, tenant=tenants),
    st.builds(Query, category=st.sampled_from(["cart", "user", "none"]), tenant=st.none() | tenants),
    st.builds(Query, types=st.lists(types, max_size=2).map(tuple), tags=tags, tenant=tenants),
    st.builds(Query, types=st.lists(types, min_size=1, max_size=2).map(tuple), category=st.just("cart")),
    st.builds(lambda one, other: Query(types=(one,), tenant="") | Query(tags=(other,)), types, st.just("y:1")),
)
conditions = st.builds(Query, types=st.lists(types, max_size=1).map(tuple), tags=st.just(("x:1",)), tenant=tenants)
keys = st.builds(RowKey, tenants, st.sampled_from(["a", "b", "é", "z~"]))
index = st.tuples(
    st.none() | st.integers(-2, 2) | st.floats(-2, 2).filter(lambda one: one != 0),
    st.none() | st.sampled_from(["", "n", "ñ"]),
)
versions = st.none() | st.integers(0, 3)
changes = st.one_of(
    st.builds(Put, st.just(ROWS), keys, st.binary(max_size=9), versions, st.integers(0, 9), index),
    st.builds(Delete, st.just(ROWS), keys, versions),
    st.builds(Check, st.just(ROWS), keys, st.integers(0, 3)),
    st.builds(Put, st.just(EXPIRING), keys, st.binary(max_size=9), versions, expires=st.none() | st.integers(1, 60)),
)


def _key(change: RowChange) -> tuple[str, RowKey]:
    return change.table.name, change.key


class Ranked:
    """A store whose positions have holes, as if they had none: what was rolled back took some."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._there: list[int] = []
        self.open, self.close, self.get, self.scan = inner.open, inner.close, inner.get, inner.scan

    async def commit(self, batch: Batch) -> Any:
        try:
            answers = await self._inner.commit(replace_conditions(batch, self._position))
        except Conflict as error:
            if error.what.startswith("events of"):
                places = map(self._rank, (error.expected, error.actual))
                raise Conflict(error.what, *places) from error
            raise
        events = (await self._inner.read(Query(), self._there[-1] if self._there else 0)).events
        self._there += [event.position for event in events]
        return [answer._replace(position=self._rank(answer.position)) for answer in answers]

    async def read(self, query: Query, after: int, limit: int, *, backward: bool = False) -> Any:
        place = after if query.stream else self._position(after)
        page = await self._inner.read(query, place, limit, backward=backward)
        events = [msgspec.structs.replace(event, position=self._rank(event.position)) for event in page.events]
        return page._replace(events=events, head=self._rank(page.head))

    def _rank(self, position: Any) -> int:
        return bisect_right(self._there, position)

    def _position(self, rank: int) -> int:
        there = self._there
        return there[rank - 1] if 0 < rank <= len(there) else rank + (there[-1] if rank and there else 0)


def replace_conditions(batch: Batch, place: Callable[[int], int]) -> Batch:
    appends = [
        one
        if one.condition is None
        else msgspec.structs.replace(one, condition=Condition(one.condition.query, place(one.condition.after)))
        for one in batch.appends
    ]
    return Batch(appends, batch.rows)


class Engines(RuleBasedStateMachine):
    """Both engines, one clock."""

    def make(self) -> Any:
        """The engine that is compared with memory."""
        path = str(Path(self.folder.name) / "log.db")
        return SqliteStore(path, Kind, now=lambda: self.time)

    @initialize()
    def begin(self) -> None:
        self.time = 1
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.memory: Store = MemoryStore(Kind, now=lambda: self.time)
        self.other = self.make()
        for store in (self.memory, self.other):
            self.run(store.open())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def same(self, work: Any) -> Any:
        """Both engines' answer to the same call, which must be one."""
        answers = []
        for store in (self.memory, self.other):
            try:
                answers.append(_plain(self.run(work(store))))
            except FoldlogError as error:
                answers.append((type(error).__name__, error.message))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(seconds=st.integers(0, 20))
    def pass_time(self, seconds: int) -> None:
        self.time += seconds

    @rule(
        tenant=tenants,
        stream=streams,
        new=st.lists(drafts, min_size=1, max_size=3),
        expected=st.sampled_from([ANY, EXISTS, 0, 1, 2, 3]),
        rows=st.lists(changes, max_size=3, unique_by=_key),
    )
    def append(self, tenant: str, stream: str, new: list[Draft], expected: int, rows: list[RowChange]) -> None:
        self.same(lambda store: store.commit(Batch([Append(stream, new, expected, tenant)], rows)))

    @rule(new=st.lists(drafts, min_size=2, max_size=3), expected=st.sampled_from([ANY, 0, 1]))
    def append_to_several(self, new: list[Draft], expected: int) -> None:
        appends = [Append(f"cart-{number}", [one], expected) for number, one in enumerate(new)]
        self.same(lambda store: store.commit(Batch(appends)))

    @rule(stream=streams, new=drafts, query=conditions, back=st.integers(0, 3))
    def append_on_a_tag_condition(self, stream: str, new: Draft, query: Query, back: int) -> None:
        after = max(0, self.run(self.memory.head()) - back)
        append = Append(stream, [new], ANY, query.tenant or "", Condition(query, after))
        self.same(lambda store: store.commit(Batch([append])))

    @rule(rows=st.lists(changes, min_size=1, max_size=4, unique_by=_key))
    def change_rows(self, rows: list[RowChange]) -> None:
        self.same(lambda store: store.commit(Batch(rows=rows)))

    @rule(
        query=queries,
        after=st.integers(0, 12),
        limit=st.integers(1, 5),
        backward=st.booleans(),
        since=st.integers(0, 60),
    )
    def read(self, query: Query, after: int, limit: int, *, backward: bool, since: int) -> None:
        self.same(lambda store: store.read(query, after, limit, backward=backward))
        if not query.any_of:
            later = replace(query, since=to_datetime(since))
            self.same(lambda store: store.read(later, after, limit, backward=backward))

    @rule(
        tenant=tenants,
        name=st.sampled_from([None, "size", "name"]),
        limit=st.integers(1, 3),
        backward=st.booleans(),
        bounds=st.tuples(st.none() | st.integers(-1, 1), st.none() | st.integers(-1, 1)),
    )
    def scan(self, tenant: str, name: str | None, limit: int, *, backward: bool, bounds: tuple[Any, Any]) -> None:
        low, high = bounds if name == "size" else (None, None)
        span = Range(tenant, name, low, high, None, limit, backward)
        while True:
            answer = self.same(lambda store, span=span: store.scan(ROWS, span))
            if not answer or not answer[1]:
                return
            rows, _ = self.run(self.memory.scan(ROWS, span))
            span = replace(span, after=rows[-1])

    @invariant()
    def the_logs_are_one(self) -> None:
        if hasattr(self, "loop"):
            self.same(lambda store: store.read(Query(), 0, 1_000))
            self.same(lambda store: store.get(EXPIRING, [RowKey("", "a"), RowKey("b", "b")]))

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for store in (self.memory, self.other):
                self.run(store.close())
            self.loop.close()
            self.folder.cleanup()


def _plain(answer: Any) -> Any:
    """An answer without what may differ: the log's id and the identity of Kind objects."""
    if isinstance(answer, msgspec.Struct):
        return tuple(_plain(getattr(answer, name)) for name in answer.__struct_fields__ if name != "log")
    if isinstance(answer, Kind):
        return answer.category, answer.type, answer.schema, answer.encoding
    if isinstance(answer, dict):
        return {key: _plain(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [_plain(one) for one in answer]
    return answer


TestEngines = Engines.TestCase
TestEngines.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_postgres(postgres: Postgres) -> None:
    names = (f"engines_{number}" for number in count())

    class OnPostgres(Engines):
        def make(self) -> Any:
            return Ranked(PostgresStore(postgres.url(next(names)), Kind, now=lambda: self.time))

    run_state_machine_as_test(OnPostgres, settings=settings(max_examples=8, stateful_step_count=20, deadline=None))
