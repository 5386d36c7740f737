"""The safe head against other transactions, step by step: nothing is skipped or waits for who took no position."""

import asyncio
import threading
from contextlib import closing, contextmanager

import psycopg
import pytest

from foldlog import limits
from foldlog.engines.postgres import PostgresStore, writer
from foldlog.engines.postgres import session as sessions
from foldlog.engines.postgres.address import parse
from foldlog.engines.postgres.statement import begun
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Put, RowKey, Table
from tests.opened import opened

DRAFT = Draft("seen", 1, b"{}")
ROWS = Table("rows")


class Other:
    """A writer whose transactions a test holds in its hands; its events are whole. `telling` where its positions begin,
    as the store's statements do."""

    def __init__(self, url, *, telling=True):
        address = parse(url)
        self.schema = address.schema
        self.conn = psycopg.connect(address.conninfo, autocommit=True)
        self.conn.execute(f"SET search_path = {self.schema}")
        self.begun = begun(self.schema) if telling else "SELECT 1"

    def begin(self):
        """Append one event to a stream of its own, in a transaction that stays open."""
        self.conn.execute("BEGIN")
        self.append()

    def append(self):
        new = "SELECT '', 'other-' || gen_random_uuid(), 1, 0 FROM b"
        stream = f"INSERT INTO streams (tenant, name, version, before) {new} RETURNING id"
        event = "INSERT INTO events SELECT nextval('positions'), s.id, 1, 1, 1, '', '{}', '{}' FROM s"
        self.conn.execute(f"WITH b AS MATERIALIZED ({self.begun}), s AS ({stream}) {event}")

    def end(self, how="COMMIT"):
        self.conn.execute(how)

    @property
    def pid(self):
        return self.conn.info.backend_pid


@contextmanager
def others(url, count=1, *, telling=True):
    opened = [Other(url, telling=telling) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.conn.close()


async def append(store, stream="cart-1"):
    return (await store.commit(Batch([Append(stream, [DRAFT])])))[0].position


async def seen(store, after=0):
    return [event.position for event in (await store.read(Query(), after)).events]


def run(story, url):
    async def told():
        async with opened(PostgresStore(url)) as store:
            assert await append(store) == 1
            await story(store)

    asyncio.run(told())


@pytest.fixture
def url(postgres_url):
    return postgres_url()


def test_what_overtakes_an_open_transaction_waits_for_it(url):
    async def story(store):
        with others(url, 2) as (slow, quick):
            slow.begin()
            quick.append()
            assert await append(store, "cart-2") == 4
            assert (await store.head(), await seen(store)) == (1, [1])
            slow.end()
            assert (await store.head(), await seen(store)) == (4, [1, 2, 3, 4])

    run(story, url)


def test_an_own_stream_is_read_to_its_end_all_the_same(url):
    async def story(store):
        with others(url) as (slow,):
            slow.begin()
            await append(store)
            page = await store.read(Query(stream="cart-1"))
            assert [event.version for event in page.events] == [1, 2]
            assert page.head == 1
            slow.end()

    run(story, url)


def test_what_was_rolled_back_is_passed(url):
    async def story(store):
        with others(url, 2) as (slow, quick):
            slow.begin()
            quick.append()
            assert await store.head() == 1
            slow.end("ROLLBACK")
            assert (await store.head(), await seen(store)) == (3, [1, 3])
            quick.begin()
            quick.end("ROLLBACK")
            assert await store.head() == 3
            quick.append()
            assert (await store.head(), await seen(store)) == (5, [1, 3, 5])

    run(story, url)


def test_what_lies_before_an_open_transaction_is_not_delayed(url):
    async def story(store):
        with others(url, 2) as (slow, quick):
            quick.append()
            slow.begin()
            quick.append()
            quick.begin()
            quick.append()
            quick.end("ROLLBACK")
            quick.append()
            assert (await store.head(), await seen(store)) == (2, [1, 2])
            slow.append()
            assert await store.head() == 2
            slow.end()
            assert await seen(store) == [1, 2, 3, 4, 7, 8]

    run(story, url)


@pytest.mark.parametrize(("telling", "head"), [(True, 3), (False, 1)])
def test_a_hole_in_front_of_an_open_transaction(url, telling, head):
    """Whoever does not say where its positions begin may own any: that costs time, and no event."""

    async def story(store):
        with others(url, 2) as (quick, third), others(url, telling=telling) as (slow,):
            third.begin()
            quick.append()
            third.end("ROLLBACK")
            slow.begin()
            quick.append()
            assert await store.head() == head
            slow.end()
            assert (await store.head(), await seen(store)) == (5, [1, 3, 4, 5])

    run(story, url)


def test_an_append_that_waits_for_its_stream_does_not_hold_what_is_in_front_of_it(url):
    async def story(store):
        with others(url, 2) as (quick, third):
            quick.begin()
            third.append()
            quick.end("ROLLBACK")
            quick.conn.execute("BEGIN; UPDATE streams SET version = version WHERE name = 'cart-1'")
            begun = asyncio.create_task(append(store))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'WITH%%'"
            while third.conn.execute(waits).fetchone() != (1,):  # noqa: ASYNC110 - a server is asked
                await asyncio.sleep(0.01)
            assert (await store.head(), await seen(store)) == (3, [1, 3])
            quick.end()
            assert await begun == 4
            assert await seen(store) == [1, 3, 4]

    run(story, url)


BATCHES = [
    [Batch([Append("cart-1", [DRAFT])])],
    [Batch([Append(f"cart-{n}", [DRAFT, DRAFT])]) for n in range(20)],
    [Batch([Append("cart-1", [Draft("seen", 1, b"{}", tags=("a:1", "b:2"))]), Append("cart-2", [DRAFT])])],
    [
        Batch([Append(f"cart-{n}", [DRAFT]), Append(f"box-{n}", [DRAFT])], [Put(ROWS, RowKey("", f"{n}"), b"")])
        for n in range(20)
    ],
]


@pytest.mark.parametrize("batches", BATCHES)
def test_each_statement_says_where_its_positions_begin_before_it_takes_one(url, monkeypatch, batches):
    told, fetch = [], sessions.fetch

    async def held(conn, statement, params=(), *, once=False):
        if "nextval" not in statement:
            return await fetch(conn, statement, params, once=once)
        async with conn.transaction():
            (row,) = await fetch(conn, statement, params)
            bounds = "SELECT objid::bigint FROM pg_locks WHERE pid = pg_backend_pid() AND objsubid = 2"
            told.append((row[0], await fetch(conn, bounds)))
        return [row]

    monkeypatch.setattr(writer, "fetch", held)

    async def story(store):
        with others(url) as (quick,):
            for _ in range(3):
                quick.append()
                await asyncio.gather(*(store.commit(batch) for batch in batches))

    run(story, url)
    drafts = sum(len(append.drafts) for batch in batches for append in batch.appends)
    assert sum(len(positions) for positions, _ in told) == 1 + 3 * drafts
    assert [found for _, found in told] == [[(positions[0] - 1,)] for positions, _ in told]


def test_a_backend_that_is_killed_gives_up_its_position(url):
    async def story(store):
        with others(url, 2) as (slow, quick):
            slow.begin()
            quick.append()
            assert await store.head() == 1
            waiting = asyncio.create_task(store.wait(1, 30))
            await asyncio.sleep(0)
            quick.conn.execute("SELECT pg_terminate_backend(%s)", [slow.pid])
            async with asyncio.timeout(20):
                await waiting
            assert await seen(store) == [1, 3]

    run(story, url)


def test_a_prepared_transaction_is_waited_for(url):
    async def story(store):
        with others(url, 2) as (slow, quick):
            slow.begin()
            slow.end(f"PREPARE TRANSACTION '{slow.schema}'")
            quick.append()
            assert await store.head() == 1
            quick.end(f"COMMIT PREPARED '{slow.schema}'")
            assert await seen(store) == [1, 2, 3]

    run(story, url)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_transaction_that_is_prepared_while_it_is_waited_for(url, end):
    async def story(store):
        with others(url, 3) as (slow, quick, third):
            slow.begin()
            quick.append()
            assert await store.head() == 1, "now it is on the list, by the name it has while it runs"
            slow.end(f"PREPARE TRANSACTION '{slow.schema}'")
            third.begin()
            third.end(f"PREPARE TRANSACTION '{slow.schema}-2'")
            for _ in range(3):
                assert await store.head() == 1, "a prepared transaction has another name"
            quick.end(f"{end} PREPARED '{slow.schema}'")
            # The other one was prepared at the same time and could be it, as far as one can see: it is waited for.
            assert await store.head() in {1, 3}
            quick.end(f"ROLLBACK PREPARED '{slow.schema}-2'")
            await store.head()
            assert await seen(store) == ([1, 2, 3] if end == "COMMIT" else [1, 3])

    run(story, url)


def test_a_position_taken_before_the_transaction_has_an_id(url):
    """The position is there before anything is written: no rule by transaction ids can know of it."""

    async def story(store):
        with others(url, 3) as (slow, quick, gate):
            gate.conn.execute(
                "CREATE FUNCTION take() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ DECLARE p bigint; BEGIN"
                f" p := nextval('{slow.schema}.positions'); PERFORM pg_advisory_xact_lock(7); RETURN p; END $$"
            )
            gate.conn.execute("BEGIN; SELECT pg_advisory_xact_lock(7)")
            taken = "SELECT last_value FROM positions"
            stuck = "INSERT INTO events SELECT take(), 1, 2, 1, 1, '', '{}', '{}'"
            thread = threading.Thread(target=slow.conn.execute, args=(stuck,))
            thread.start()
            while quick.conn.execute(taken).fetchone() != (2,):  # noqa: ASYNC110 - a server is asked
                await asyncio.sleep(0.01)
            quick.append()
            (xid,) = quick.conn.execute(
                "SELECT backend_xid FROM pg_stat_activity WHERE pid = %s", [slow.pid]
            ).fetchone()
            assert xid is None
            for _ in range(3):
                assert await store.head() == 1
            gate.end("ROLLBACK")
            thread.join()
            assert await seen(store) == [1, 2, 3]

    run(story, url)


def test_other_writers_of_the_cluster_do_not_hold_the_head(url, postgres):
    async def story(store):
        with others(url, 2) as (bystander, quick), closing(psycopg.connect(postgres.conninfo)) as stranger:
            stranger.execute("CREATE TEMP TABLE x (n int); INSERT INTO x VALUES (1)")
            bystander.conn.execute("BEGIN; CREATE TABLE mine (n int); INSERT INTO mine VALUES (1)")
            bystander.conn.execute("SELECT count(*) FROM events")
            quick.begin()
            quick.end("ROLLBACK")
            quick.append()
            assert await seen(store) == [1, 3]

    run(story, url)


def test_events_of_a_new_kind_behind_a_hole_are_found(url):
    async def story(store):
        assert (await store.read(Query(types=("later",)))).events == []
        with others(url) as (slow,):
            slow.begin()
            async with opened(PostgresStore(url)) as second:
                await second.commit(Batch([Append("cart-9", [Draft("later", 1, b"{}")])]))
            assert (await store.read(Query(types=("later",)))).events == []
            slow.end()
            assert [e.position for e in (await store.read(Query(types=("later",)))).events] == [3]

    run(story, url)


def test_a_long_way_is_gone_in_steps_and_not_gone_again(url, monkeypatch):
    monkeypatch.setattr(limits, "HEAD_PAGE", 3)

    async def story(store):
        with others(url, 2) as (slow, quick):
            for number in range(10):
                quick.append()
                if number % 3 == 0:
                    quick.begin()
                    quick.end("ROLLBACK")
            slow.begin()
            for _ in range(5):
                quick.append()
            head = await store.head()
            assert head == 15
            assert len(await seen(store)) == 11
            slow.end()
            assert await store.head() == 21

    run(story, url)

    async def again():
        async with opened(PostgresStore(url)) as store:
            with others(url) as (one,):
                assert one.conn.execute("SELECT head FROM log").fetchone() == (21,), "who opens next begins there"
            assert await store.head() == 21

    asyncio.run(again())


def test_a_waiting_reader_is_woken_when_a_hole_is_filled(url):
    async def story(store):
        with others(url, 2) as (slow, quick):
            slow.begin()
            quick.append()
            assert await store.head() == 1
            waiting = asyncio.create_task(store.wait(1, 60))
            await asyncio.sleep(0.1)  # it may look at the hole some times
            assert not waiting.done()
            slow.end()
            async with asyncio.timeout(20):
                await waiting
            assert await seen(store, 1) == [2, 3]

    run(story, url)


def test_a_process_that_knows_of_much_when_it_begins_reads_its_first_page(url):
    async def story(store):
        for _ in range(20):
            await append(store)
        with others(url) as (other,):
            other.conn.execute("UPDATE log SET head = 21")
        async with opened(PostgresStore(url)) as fresh:
            page = await fresh.read(Query(), 0, 5)
            assert [event.position for event in page.events] == [1, 2, 3, 4, 5]
            assert page.more

    run(story, url)
