"""Batches that share statements: each stands as a whole or not at all, whatever its neighbours and other processes
do."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from itertools import count
from random import Random

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog.engines.memory import MemoryStore
from foldlog.engines.postgres import PostgresStore, faults, writer
from foldlog.engines.postgres import session as sessions
from foldlog.engines.postgres.address import parse
from foldlog.errors import Conflict, Unavailable
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.model.stream import ANY, EXISTS
from foldlog.ports.store import Append, Batch, Check, Delete, Put, RowKey, Table
from tests.opened import opened

ROWS = Table("rows")
DRAFT = Draft("seen", 1, b"{}")
PROCESSES = 3
SLOW = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END $$"


@pytest.fixture
def url(postgres_url):
    return postgres_url()


def ask(url, sql):
    with psycopg.connect(parse(url).conninfo) as conn:
        return conn.execute(sql.replace("{s}", parse(url).schema)).fetchone()[0]


def tell(url, *sql):
    with psycopg.connect(parse(url).conninfo) as conn:
        conn.execute(f"SET search_path = {parse(url).schema}")
        for one in sql:
            conn.execute(one)


def statements(url):
    """How many statements have committed something."""
    return ask(url, "SELECT sum(seq)::bigint FROM {s}.writers")


def key(name):
    return RowKey("", str(name))


def pair(one, other, expected=0, rows=()):
    return Batch([Append(one, [DRAFT], expected), Append(other, [DRAFT])], rows)


async def commit(store, *batches):
    """All at once; the answers and refusals, in order."""
    return await asyncio.gather(*(store.commit(batch) for batch in batches), return_exceptions=True)


def kinds(answers):
    return [type(answer) if isinstance(answer, Exception) else len(answer) for answer in answers]


def test_batches_of_several_streams_share_a_statement(url):
    async def story():
        async with opened(PostgresStore(url)) as store:
            await store.commit(Batch([Append("warm-1", [DRAFT])], [Put(ROWS, key(n), b"") for n in range(64)]))
            before = statements(url)
            commands = [pair(f"order-{n}", f"saga-{n}", 0, [Delete(ROWS, key(n), 1)]) for n in range(64)]
            assert kinds(await commit(store, *commands)) == [2] * 64
            assert statements(url) == before + 1

    asyncio.run(story())


def test_a_conflict_costs_its_neighbours_nothing(url):
    async def story():
        async with opened(PostgresStore(url)) as store:
            await store.commit(Batch([Append("cart-0", [DRAFT])], [Put(ROWS, key("a"), b"")]))
            before = statements(url)
            answers = await commit(
                store,
                pair("order-1", "saga-1"),
                pair("cart-0", "saga-2", 0, [Put(ROWS, key("b"), b"")]),
                Batch([Append("order-3", [DRAFT, DRAFT], 0)]),
                pair("order-4", "saga-4", EXISTS),
                pair("order-5", "saga-5", 0, [Put(ROWS, key("c"), b"")]),
            )
            assert kinds(answers) == [2, Conflict, 1, Conflict, 2]
            assert (answers[1].what, answers[1].actual) == ("cart-0", 1)
            assert statements(url) == before + 1
            assert set(await store.get(ROWS, [key("b"), key("c")])) == {key("c")}
            streams = Counter(event.stream for event in (await store.read(Query())).events)
            assert streams == {"cart-0": 1, "order-1": 1, "saga-1": 1, "order-3": 2, "order-5": 1, "saga-5": 1}

    asyncio.run(story())


def test_a_stream_that_moves_on_meanwhile_takes_its_batch_along_and_nothing_else(url):
    async def story():
        async with opened(PostgresStore(url)) as store:
            await store.commit(Batch([Append("cart-1", [DRAFT])]))
            before = statements(url)
            with psycopg.connect(parse(url).conninfo) as other:
                other.execute(f"SET search_path = {parse(url).schema}")
                other.execute("UPDATE streams SET version = 2, before = 1 WHERE name = 'cart-1'")
                other.execute("INSERT INTO events SELECT nextval('positions'), id, 2, 1, 1, '', '', '' FROM streams")
                torn = pair("cart-1", "saga-1", 1, [Put(ROWS, key("a"), b"")])
                works = [torn, pair("order-2", "saga-2"), Batch([Append("order-3", [DRAFT])])]
                begun = asyncio.create_task(commit(store, *works))
                waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'WITH%'"
                while not ask(url, waits):  # noqa: ASYNC110 - a server is asked
                    await asyncio.sleep(0.01)
                other.commit()
                answers = await begun
            assert kinds(answers) == [Conflict, 2, 1]
            assert (answers[0].what, answers[0].expected, answers[0].actual) == ("cart-1", 1, 2)
            assert statements(url) == before + 1, "the group is not taken apart for it"
            assert not await store.get(ROWS, [key("a")])
            streams = Counter(event.stream for event in (await store.read(Query())).events)
            assert streams == {"cart-1": 2, "order-2": 1, "saga-2": 1, "order-3": 1}

    asyncio.run(story())


def test_batches_of_many_processes_are_never_torn_and_never_lock_each_other_out(url, monkeypatch):
    """Transfers between few accounts, in groups that rest between the locks they take: they meet all the time."""
    accounts = [f"account-{n}" for n in range(6)]
    ways = [(one, other) for one in accounts for other in accounts if one != other]
    failed, fetch = [], sessions.fetch

    async def watched(*args, **more):
        try:
            return await fetch(*args, **more)
        except psycopg.Error as error:
            failed.append(error.sqlstate)
            raise

    monkeypatch.setattr(writer, "fetch", watched)

    async def transfer(store, name, source, target):
        """Until it stands; the number of conflicts."""
        drafts = [Draft("moved", 1, name.encode())]
        lost = 0
        while True:
            (one,) = (await store.read(Query(stream=source), 0, 1, backward=True)).events or [None]
            appends = [Append(source, drafts, one.version if one else 0), Append(target, drafts)]
            try:
                await store.commit(Batch(appends, [Put(ROWS, key(name), b"", 0)]))
            except Conflict:
                lost += 1
            else:
                return lost

    async def story():
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(opened(PostgresStore(url))) for _ in range(PROCESSES)]
            tell(url, SLOW, "CREATE TRIGGER slow BEFORE INSERT ON streams FOR EACH ROW EXECUTE FUNCTION slow()")
            works = []
            for number, store in enumerate(stores):
                Random(number).shuffle(ways)
                works += [transfer(store, f"{number}: {way}", *way) for way in ways]
            assert sum(await asyncio.gather(*works)), "they were in each other's way"
            seen = Counter(event.body.decode() for event in (await stores[0].read(Query())).events)
            assert (len(seen), set(seen.values())) == (len(works), {2})
            assert len(await stores[0].get(ROWS, [key(name) for name in seen])) == len(works)

    asyncio.run(story())
    assert set(failed) <= {faults.REFUSED}, "torn batches, and no deadlock"


def test_who_has_waited_for_a_lock_as_long_as_one_may_is_told(url, monkeypatch):
    """Once: others of this process wait behind it."""
    begun, fetch = [], sessions.fetch

    async def counted(conn, text, *params, **more):
        begun.append(text.partition(" ")[0])
        return await fetch(conn, text, *params, **more)

    monkeypatch.setattr(writer, "fetch", counted)

    async def story():
        async with opened(PostgresStore(f"{url}&options=-c%20lock_timeout%3D50")) as store:
            await store.commit(Batch([Append("cart-1", [DRAFT])]))
            with psycopg.connect(parse(url).conninfo) as other:
                other.execute(f"SET search_path = {parse(url).schema}")
                other.execute("UPDATE streams SET version = version")
                begun.clear()
                answers = await commit(store, Batch([Append("cart-1", [DRAFT])]), Batch([Append("cart-2", [DRAFT])]))
            assert kinds(answers) == [Unavailable, 1]
            assert begun == ["WITH"] * 3, "together, and each alone"
            assert (await store.commit(Batch([Append("cart-1", [DRAFT])])))[0].version == 2

    asyncio.run(story())


STREAMS = [f"cart-{n}" for n in range(5)]

# Batches for a tenant that is yet to be named.
drafts = st.lists(st.just(DRAFT), min_size=1, max_size=2)
expected = st.sampled_from([ANY, ANY, EXISTS, 0, 1, 2])
streams = st.tuples(st.sampled_from(STREAMS), drafts, expected)
versions = st.none() | st.integers(0, 2)
rows = st.tuples(st.integers(0, 3), st.sampled_from([Put, Delete, Check]), versions)
batches = st.tuples(
    st.lists(streams, max_size=3, unique_by=lambda one: one[0]),
    st.lists(rows, max_size=2, unique_by=lambda one: one[0]),
).filter(lambda batch: batch[0] or batch[1])


def made(batch, tenant):
    appends, rows = batch
    changes = {
        Put: lambda where, version: Put(ROWS, where, b"", version),
        Delete: lambda where, version: Delete(ROWS, where, version),
        Check: lambda where, version: Check(ROWS, where, version or 0),
    }
    return Batch(
        [Append(*one, tenant) for one in appends],
        [changes[what](RowKey(tenant, str(name)), version) for name, what, version in rows],
    )


@pytest.fixture(scope="module")
def running(postgres):
    """A loop, and a store that is open in it."""
    with asyncio.Runner() as runner:
        store = PostgresStore(postgres.url("groups"))
        runner.run(store.open())
        yield runner, store
        runner.run(store.close())


TENANTS = count()


@settings(max_examples=60, deadline=None)
@given(work=st.lists(batches, min_size=2, max_size=12))
def test_at_once_comes_to_the_same_as_one_after_the_other(running, work):
    """Every batch's answer is the one it gets in a store that takes them one by one, in the same order."""
    runner, store = running
    tenant = f"t{next(TENANTS)}"

    async def outcome(store, *, at_once):
        there = RowKey(tenant, "0")
        await store.commit(Batch([Append("cart-0", [DRAFT], ANY, tenant)], [Put(ROWS, there, b"")]))
        todo = [made(batch, tenant) for batch in work]
        answers = await commit(store, *todo) if at_once else [(await commit(store, one))[0] for one in todo]
        events = (await store.read(Query(tenant=tenant))).events
        rows = await store.get(ROWS, [RowKey(tenant, str(n)) for n in range(4)])
        told = [[one.version for one in answer] if isinstance(answer, list) else type(answer) for answer in answers]
        assert {one for one in told if not isinstance(one, list)} <= {Conflict}
        told_of = {stream: [one.version for one in events if one.stream == stream] for stream in STREAMS}
        return told, told_of, {where: row.version for where, row in rows.items()}

    memory = MemoryStore()
    runner.run(memory.open())
    assert runner.run(outcome(store, at_once=True)) == runner.run(outcome(memory, at_once=False))
