"""Lines that break and servers that go: what was answered stands, what was not is found out, nothing is there twice."""

import asyncio
import gc
import os
import socket
import time
import tracemalloc

import psycopg
import pytest

from foldlog import limits
from foldlog.engines.postgres import PostgresStore
from foldlog.engines.postgres.address import parse
from foldlog.engines.postgres.faults import is_lost, said
from foldlog.engines.postgres.session import connect, fetch, int8s
from foldlog.errors import Conflict, Unavailable
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.model.stream import ANY
from foldlog.ports.store import Append, Appended, Batch, Put, RowKey, Table
from tests.line import Line
from tests.servers import postgres_or_skip

TABLE = Table("rows")
DRAFT = Draft("seen", 1, b"{}")


@pytest.fixture
def line(postgres):
    with Line(postgres.port) as line:
        yield line


class Behind:
    """A store behind a line, and a look at the schema past it."""

    def __init__(self, postgres, line, url):
        self.line = line
        self.address = parse(url)
        self.store = PostgresStore(url.replace(f":{postgres.port}/", f":{line.port}/"))

    async def __aenter__(self):
        await self.store.open()
        # Each sort of statement is prepared, so that a line that is silent finds it under way and not before it.
        group = append(self.store, rows=[Put(TABLE, RowKey("", "first"), b"1", 0)]), append(self.store, "cart-2", 9)
        _, refused = await asyncio.gather(*group, return_exceptions=True)
        assert isinstance(refused, Conflict)
        await append(self.store, "cart-1", 2)
        return self

    async def __aexit__(self, *_):
        self.line.up.set()
        self.line.down.set()
        await self.store.close()

    def ask(self, sql):
        with psycopg.connect(self.address.conninfo) as conn:
            return conn.execute(sql.replace("{s}", self.address.schema)).fetchall()

    def versions(self):
        return [row[0] for row in self.ask("SELECT version FROM {s}.events ORDER BY stream, version")]

    async def until(self, sql):
        while not self.ask(sql)[0][0]:  # noqa: ASYNC110 - a server is asked
            await asyncio.sleep(0.01)


@pytest.fixture
def behind(postgres, line, postgres_url):
    return Behind(postgres, line, postgres_url())


async def append(store, stream="cart-1", expected=ANY, rows=()):
    return (await store.commit(Batch([Append(stream, [DRAFT, DRAFT], expected)], rows)))[0]


async def positions(store):
    return [event.position for event in (await store.read(Query())).events]


def test_an_answer_that_got_lost_is_found_out(behind):
    async def story():
        async with behind as place:
            place.line.down.clear()
            begun = [asyncio.create_task(append(place.store, "cart-1", 4))]
            begun += [asyncio.create_task(append(place.store, f"cart-{n}", 7)) for n in (1, 2)]
            begun += [asyncio.create_task(append(place.store, "cart-3", 0, [Put(TABLE, RowKey("", "x"), b"1", 0)]))]
            await place.until("SELECT count(*) = 8 FROM {s}.events")
            place.line.cut()
            place.line.renew()
            answers = await asyncio.gather(*begun, return_exceptions=True)
            assert answers[0][:2] == (6, 6)
            assert [type(one) for one in answers[1:]] == [Conflict, Conflict, Appended]
            assert answers[3].version == 2
            assert await positions(place.store) == [1, 2, 3, 4, 5, 6, 7, 8]
            assert (await append(place.store, "cart-1", 6)).version == 8

    asyncio.run(story())


def test_an_answer_to_batches_of_several_streams_is_found_out_whole(behind):
    def both(one, other, expected, name=None):
        rows = [Put(TABLE, RowKey("", name), b"1", 0)] if name else []
        return Batch([Append(one, [DRAFT], expected), Append(other, [DRAFT, DRAFT])], rows)

    async def story():
        async with behind as place:
            await place.store.commit(both("cart-11", "cart-12", 0, "warm"))
            place.line.down.clear()
            works = [
                both("cart-21", "cart-31", 0, "a"),
                both("cart-1", "cart-32", 7, "b"),
                both("cart-23", "cart-33", 0),
            ]
            begun = [asyncio.create_task(place.store.commit(work)) for work in works]
            await place.until("SELECT count(*) = 13 FROM {s}.events")
            place.line.cut()
            place.line.renew()
            answers = await asyncio.gather(*begun, return_exceptions=True)
            assert [type(one) for one in answers] == [list, Conflict, list]
            assert [[one.version for one in answers[n]] for n in (0, 2)] == [[1, 2], [1, 2]]
            events = {
                (event.stream, event.version): event.position for event in (await place.store.read(Query())).events
            }
            assert [one.position for n in (0, 2) for one in answers[n]] == [
                events[stream, version]
                for stream, version in [("cart-21", 1), ("cart-31", 2), ("cart-23", 1), ("cart-33", 2)]
            ]
            assert not [stream for stream, _ in events if stream == "cart-32"]
            assert set(await place.store.get(TABLE, [RowKey("", name) for name in "ab"])) == {RowKey("", "a")}

    asyncio.run(story())


@pytest.mark.parametrize("late", [False, True])
def test_a_commit_that_did_not_arrive_is_not_stored(behind, late):
    """Not even when the network delivers it after all."""

    async def story():
        async with behind as place:
            place.line.up.clear()
            begun = asyncio.create_task(append(place.store))
            await asyncio.sleep(0.1)  # on its way, and no further
            up, _ = place.line.renew()
            place.line.cut(server=not late)
            with pytest.raises(Unavailable, match="nothing was stored"):
                await begun
            up.set()
            for version in (6, 8, 10):
                assert (await append(place.store)).version == version
            assert place.versions() == list(range(1, 11))

    asyncio.run(story())


def test_a_commit_that_still_runs_is_waited_for(behind, monkeypatch):
    monkeypatch.setattr(limits, "WATCH_AGAIN", 0.01)

    async def story():
        async with behind as place:
            with psycopg.connect(place.address.conninfo) as conn:
                conn.execute(f"SET search_path = {place.address.schema}")
                conn.execute("UPDATE streams SET version = version")
                begun = asyncio.create_task(append(place.store, "cart-1", 4))
                await place.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                place.line.cut(server=False)
                await asyncio.sleep(0.2)
                assert not begun.done()
            assert (await begun)[:2] == (6, 6)
            assert place.versions() == [1, 2, 3, 4, 5, 6]

    asyncio.run(story())


def test_a_server_that_does_not_come_back_leaves_the_outcome_open(behind, monkeypatch):
    monkeypatch.setattr(limits, "OUTCOME", 0.5)

    async def story():
        async with behind as place:
            place.line.down.clear()
            begun = asyncio.create_task(append(place.store, "cart-1", 4))
            await place.until("SELECT count(*) = 6 FROM {s}.events")
            place.line.cut()
            with pytest.raises(Unavailable, match="whether it stands"):
                await begun
            place.line.renew()
            place.line.cut()
            assert (await append(place.store, "cart-1", 6)).version == 8
            assert place.versions() == list(range(1, 9))

    asyncio.run(story())


def test_a_writer_that_was_forgotten_begins_anew(behind):
    async def story():
        async with behind as place:
            place.ask("DELETE FROM {s}.writers RETURNING 1")
            assert (await append(place.store, "cart-1", 4)).version == 6
            assert (await append(place.store, "cart-1", 6)).version == 8

    asyncio.run(story())


def test_statements_at_once_on_one_connection_get_their_own_answers(postgres_url):
    async def story():
        conn = await connect(parse(postgres_url()))
        asked = [fetch(conn, "SELECT generate_series($1, $1 + $2)", [n, n * 9]) for n in range(20)]
        assert await asyncio.gather(*asked) == [[(one,) for one in range(n, 10 * n + 1)] for n in range(20)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            await fetch(conn, "SELECT 1 / $1", [0])
        assert await fetch(conn, "SELECT 1") == [(1,)]
        await conn.close()

    asyncio.run(story())


def test_a_connection_notices_a_server_that_is_gone_without_a_word(postgres_url):
    """The kernel gives the line up; what the URL says about it comes first."""

    def silence(conn):
        with socket.socket(fileno=os.dup(conn.fileno())) as line:
            names = [socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL]
            return [line.getsockopt(socket.IPPROTO_TCP, name) for name in names]

    async def story():
        async with await connect(parse(postgres_url())) as conn:
            assert silence(conn) == [limits.LINE_TIME * 1_000, limits.LINE_TIME // 4, limits.LINE_TIME // 4]
        told = "&tcp_user_timeout=9000&keepalives_idle=3&connect_timeout=20"
        async with await connect(parse(postgres_url() + told)) as conn:
            assert silence(conn) == [9_000, 3, limits.LINE_TIME // 4]
            assert conn.info.get_parameters()["connect_timeout"] == "20"

    asyncio.run(story())


def test_arrays_of_many_lengths_leave_nothing_in_memory():
    tracemalloc.start()
    try:
        int8s(range(5_000))
        before = tracemalloc.get_traced_memory()[0]
        for count in range(5_001, 5_021):
            int8s(range(count))
        assert tracemalloc.get_traced_memory()[0] < before + 1_000_000
    finally:
        tracemalloc.stop()


def test_an_idle_connection_holds_no_rows(postgres_url):
    async def story():
        async with await connect(parse(postgres_url())) as conn:
            assert len((await fetch(conn, "SELECT repeat('x', 1000000)"))[0][0]) == 1_000_000
            assert conn.idle is not None
            assert conn.idle.pgresult is None or not conn.idle.pgresult.ntuples
            assert await fetch(conn, "SELECT 1") == [(1,)]

    asyncio.run(story())


def test_a_session_that_slept_in_a_transaction_is_a_lost_one(postgres_url):
    async def story():
        ended = "&options=-c%20idle_in_transaction_session_timeout%3D20"
        there = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        conn = await connect(parse(postgres_url() + ended))
        await fetch(conn, "BEGIN")
        with psycopg.connect(parse(postgres_url()).conninfo, autocommit=True) as other:
            while other.execute(there, [conn.info.backend_pid]).fetchall():  # noqa: ASYNC110 - a server is asked
                await asyncio.sleep(0.01)
        with pytest.raises(psycopg.Error) as told:
            await fetch(conn, "SELECT 1")
        await conn.close()
        assert is_lost(told.value)
        assert isinstance(said(told.value, "here"), Unavailable)

    asyncio.run(story())


def test_readers_go_on_after_a_broken_line(behind):
    async def story():
        async with behind as place:
            assert await positions(place.store) == [1, 2, 3, 4]
            waiting = asyncio.create_task(place.store.wait(4, 60))
            place.line.cut()
            assert await positions(place.store) == [1, 2, 3, 4]
            other = PostgresStore(f"{place.address.conninfo}?schema={place.address.schema}")
            await other.open()
            await append(other)
            await other.close()
            async with asyncio.timeout(30):
                await waiting
            assert await positions(place.store) == [1, 2, 3, 4, 5, 6]

    asyncio.run(story())


def test_a_closed_store_leaves_no_connection(postgres, postgres_url):
    """Not even one that was being made when it was closed, and not only after memory was collected."""

    async def story():
        store = PostgresStore(postgres_url())
        await store.open()
        await append(store)
        await store.close()

    left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = 'postgres'"
    gc.disable()
    try:
        with psycopg.connect(postgres.conninfo.replace("dbname=postgres", "dbname=template1"), autocommit=True) as conn:
            for _ in range(30):
                asyncio.run(story())
            end = time.monotonic() + 20
            while conn.execute(left).fetchone() != (0,):
                assert time.monotonic() < end
    finally:
        gc.enable()


def test_a_server_that_crashes_and_comes_back():
    with postgres_or_skip() as server:

        async def story():
            store = PostgresStore(server.url("shop"))
            await store.open()
            await append(store)
            # In a thread: the server waits for a client that has connected and says nothing.
            await asyncio.to_thread(server.stop, crash=True)
            for call in (append(store), positions(store), store.head(), store.get(TABLE, [RowKey("", "x")])):
                with pytest.raises(Unavailable):
                    await call
            await asyncio.to_thread(server.start)
            assert (await append(store)).version == 4
            assert [p <= 40 for p in await positions(store)] == [True] * 4
            await store.close()

        asyncio.run(story())
