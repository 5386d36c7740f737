"""Following the log on PostgreSQL, each step in a given order. A call (NOTIFY) is a hint: one that lies, or that never
comes, makes nobody miss an event."""

import asyncio
import random
from contextlib import asynccontextmanager

import psycopg
import pytest

from foldlog import limits
from foldlog.engines.postgres import PostgresStore
from foldlog.engines.postgres.address import parse
from foldlog.engines.postgres.safe_head import SafeHead
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Put, RowKey, Table

DRAFT = Draft("seen", 1, b"{}")
LONG = 60.0
NEVER = 3_600.0  # what polls so rarely does not poll in a test


@pytest.fixture
def url(postgres_url):
    return postgres_url()


@pytest.fixture
def unpolled(monkeypatch):
    """Who does not hear of a commit does not know of it."""
    monkeypatch.setattr(limits, "WATCH_HEARD", NEVER)


@asynccontextmanager
async def opened(url, count=1):
    stores = [PostgresStore(url) for _ in range(count)]
    for store in stores:
        await store.open()
    try:
        yield stores if count > 1 else stores[0]
    finally:
        for store in stores:
            await store.close()


async def append(store, stream="cart-1", *drafts, tenant=""):
    return (await store.commit(Batch([Append(stream, drafts or [DRAFT], tenant=tenant)])))[0].position


async def put(store):
    await store.commit(Batch(rows=[Put(Table("rows"), RowKey("", "one"), b"1")]))


async def seen(store, after=0, query=None):
    return [event.position for event in (await store.read(query or Query(), after)).events]


class Outside:
    """Somebody who may connect to the database."""

    def __init__(self, url):
        address = parse(url)
        self.schema = address.schema
        self.conn = psycopg.connect(address.conninfo, autocommit=True)
        self.conn.execute(f"SET search_path = {self.schema}")

    def call(self, said):
        self.conn.execute("SELECT pg_notify(%s, %s)", [f"foldlog_{self.schema}", said])

    def append(self):
        """By hand, as one who calls nobody."""
        stream = "INSERT INTO streams (tenant, name, version, before) VALUES ('', 'o-' || gen_random_uuid(), 1, 0)"
        event = "INSERT INTO events SELECT nextval('positions'), s.id, 1, 1, 1, '', '{}', '{}' FROM s"
        self.conn.execute(f"WITH s AS ({stream} RETURNING id) {event}")


@pytest.fixture
def outside(url):
    made = []

    def make():
        made.append(Outside(url))
        return made[-1]

    yield make
    for one in made:
        one.conn.close()


async def hears(store, outside):
    """Return once the store hears calls."""
    waiting = asyncio.create_task(store.wait(None, NEVER))
    while not waiting.done():
        outside.call("somebody rows")
        await asyncio.sleep(0.01)


async def begun(store, after):
    waiting = asyncio.create_task(store.wait(after, NEVER))
    await asyncio.sleep(0)
    return waiting


async def ends(*tasks):
    async with asyncio.timeout(LONG):
        await asyncio.gather(*tasks)


def test_a_call_wakes_those_whom_it_concerns(url, outside, unpolled):
    async def story():
        async with opened(url, 2) as (writer, reader):
            await append(writer)
            await hears(reader, outside())
            follower, anybody = await begun(reader, await reader.head()), await begun(reader, None)
            await put(writer)
            await ends(anybody)
            assert not follower.done(), "rows alone are no reason to look for events"
            await append(writer)
            await ends(follower)
            assert await seen(reader, 1) == [2]

    asyncio.run(story())


def test_a_call_that_comes_before_anybody_waits_is_not_lost(url, outside, unpolled):
    async def story():
        async with opened(url, 2) as (writer, reader):
            await append(writer)
            await hears(reader, outside())
            head = await reader.head()
            await append(writer)
            known = vars(reader)["_head"]
            while known.heard == known.looked:  # noqa: ASYNC110 - a server calls
                await asyncio.sleep(0.01)
            await ends(reader.wait(head, NEVER))
            # Who has not looked, and waits again, is looked for.
            await ends(reader.wait(head, NEVER))
            assert known.value == 2
            assert await seen(reader, head) == [2]
            quiet = await begun(reader, 2)
            await asyncio.sleep(0.05)
            assert not quiet.done(), "what was looked after is no reason to look again"
            await append(writer)
            await ends(quiet)

    asyncio.run(story())


def test_a_commit_that_nobody_calls_out_is_found_by_looking_now_and_then(url, outside, monkeypatch):
    monkeypatch.setattr(limits, "WATCH_HEARD", 0.01)

    async def story():
        async with opened(url) as reader:
            await append(reader)
            waiting = await begun(reader, 1)
            outside().append()
            await ends(waiting)
            assert await seen(reader, 1) == [2]

    asyncio.run(story())


def test_a_reader_that_sees_a_commit_first_does_not_hide_it_from_who_waits(url, outside, unpolled, monkeypatch):
    async def story():
        async with opened(url) as reader:
            await append(reader)
            other = outside()
            await hears(reader, other)
            waiting = await begun(reader, None)
            other.conn.execute("UPDATE writers SET seq = seq + 1")  # a commit of rows that nobody calls out
            await reader.head()
            monkeypatch.setattr(limits, "WATCH_HEARD", 0.01)
            follower = await begun(reader, 1)
            await ends(waiting)
            follower.cancel()

    asyncio.run(story())


def test_what_was_called_while_the_line_was_broken_is_looked_for(url, outside, unpolled):
    async def story():
        async with opened(url) as reader:
            await append(reader)
            other = outside()
            await hears(reader, other)
            waiting = await begun(reader, 1)
            lost = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'foldlog'"
            other.conn.execute(lost)
            other.append()
            await ends(waiting)
            assert await seen(reader, 1) == [2]

    asyncio.run(story())


def test_a_call_that_lies_makes_nobody_skip_an_event(url, outside, unpolled):
    async def story():
        async with opened(url, 2) as (writer, reader):
            await append(writer)
            liar, slow, quick = outside(), outside(), outside()
            await hears(reader, liar)
            me = vars(vars(reader)["_watch"])["_me"]
            slow.conn.execute("BEGIN")
            slow.append()
            quick.append()
            lies = ["", "rows", "somebody 2..3", f"{me} 1 2 3", f"{me} rows", '{"head": 99}', "ä" * 3_000, "x  rows"]
            for said in lies:
                waiting = await begun(reader, await reader.head())
                liar.call(said)
                liar.call("somebody")  # it is woken by this one, if not before
                await ends(waiting)
                assert (await seen(reader), await reader.head()) == ([1], 1), said
            slow.conn.execute("COMMIT")
            await ends(reader.wait(1, NEVER))
            assert await seen(reader, 1) == [2, 3]

    asyncio.run(story())


def test_a_writer_whose_positions_do_not_follow_the_head_wakes_nobody_for_good(url, outside, unpolled):
    async def story():
        async with opened(url, 2) as (writer, reader):
            await append(writer)
            slow = outside()
            await hears(reader, slow)
            slow.conn.execute("BEGIN")
            slow.append()
            waiting = await begun(reader, 1)
            assert await append(writer) == 3
            await ends(waiting)
            assert await seen(reader, 1) == []
            waiting = await begun(reader, 1)
            slow.conn.execute("ROLLBACK")  # nobody calls that out
            await ends(waiting)
            assert await seen(reader, 1) == [3]
            # And the writer, which knew that it had committed 3, but not what 2 was.
            assert (await writer.head(), await seen(writer)) == (3, [1, 3])

    asyncio.run(story())


def test_a_hole_that_was_passed_while_its_owners_were_asked_for_does_not_stop_readers_at_the_next(url, outside):
    async def story():
        async with opened(url) as reader:
            await append(reader)
            slow, quick, head = outside(), outside(), vars(reader)["_head"]
            dead = vars(SafeHead)["_dead"]

            async def overtaken(conn, upto):
                del vars(head)["_dead"]
                slow.conn.execute("COMMIT")
                assert await seen(reader, 1) == [2, 3]
                return await dead(head, conn, upto)

            vars(head)["_dead"] = overtaken
            slow.conn.execute("BEGIN")
            slow.append()
            quick.append()
            assert await reader.head() == 3
            slow.conn.execute("BEGIN")
            slow.append()
            slow.conn.execute("ROLLBACK")
            quick.append()
            async with asyncio.timeout(LONG):
                while await reader.head() < 5:  # noqa: ASYNC110 - nobody tells when a hole is passed
                    await asyncio.sleep(0.01)
            assert await seen(reader, 3) == [5]

    asyncio.run(story())


@pytest.mark.parametrize(
    "drafts",
    [
        [DRAFT],
        [DRAFT, Draft("large", 1, b'"%s"' % (b"x" * 20_000)), DRAFT],
        [DRAFT, Draft("large", 1, b'"%s"' % (b"x" * 20_000))],
        [DRAFT] * 8,
        [DRAFT] * 9,
        [Draft("new", 1, b"{}"), *[DRAFT] * 30],
    ],
    ids=["one", "large", "large-last", "full", "too-many", "new-kind"],
)
def test_what_is_new_is_read_whole(url, monkeypatch, drafts):
    monkeypatch.setattr(limits, "TAIL", 8)
    queries = [
        Query(),
        Query(types=("seen",)),
        Query(types=("large", "new")),
        Query(category="order"),
        Query(tenant="t"),
    ]

    async def story():
        async with opened(url, 2) as (writer, reader):
            await append(writer)
            head = await reader.head()
            for turn in range(4):
                await append(writer, ("cart-1", "order-1")[turn % 2], *drafts, tenant=("", "t")[turn // 2])
                for query in queries:
                    for limit in (1, 4, 100):
                        page, known = await reader.read(query, head, limit), await writer.read(query, 0, 1_000)
                        expected = [event for event in known.events if event.position > head]
                        assert [e.position for e in page.events] == [e.position for e in expected[:limit]]
                        assert [
                            (e.body, e.type, e.stream, e.version, e.tenant, e.time, e.meta) for e in page.events
                        ] == [(e.body, e.type, e.stream, e.version, e.tenant, e.time, e.meta) for e in expected[:limit]]
                        assert page.more == (len(expected) > limit)
                        assert page.head == known.head
                head = await reader.head() if turn == 1 else page.head

    asyncio.run(story())


@pytest.mark.parametrize("seed", range(3))
def test_each_follower_sees_all_that_matches_once_and_in_order(url, outside, monkeypatch, seed):
    """Over few events kept, large ones, kinds that nobody knew, tenants, holes, and pages of any size."""
    monkeypatch.setattr(limits, "TAIL", 8)
    dice = random.Random(seed)
    queries = [
        Query(),
        Query(types=("a", "c")),
        Query(category="cart"),
        Query(types=("b",), tenant="t"),
        Query(tags=("k:1",)),
        Query(types=("b",)) | Query(types=("new-1",)),
        Query(types=("never",)),
    ]
    total = 120

    async def write(store, other):
        for number in range(total):
            large = b'"%s"' % (b"x" * 20_000) if dice.random() < 0.1 else b"{}"
            name = f"new-{number // 40}" if dice.random() < 0.1 else dice.choice("abc")
            drafts = [Draft(name, 1, large, tags=("k:1",) if dice.random() < 0.2 else ())] * dice.choice(
                (1, 1, 1, 3, 12)
            )
            await append(store, dice.choice(("cart-1", "cart-2", "order-1")), *drafts, tenant=dice.choice(("", "t")))
            if dice.random() < 0.1:
                other.conn.execute("BEGIN")
                other.append()
                other.conn.execute(dice.choice(("COMMIT", "ROLLBACK")))

    async def follow(store, query, last):
        found, after, limit = [], 0, dice.choice((1, 3, 20))
        while not last.done() or after < last.result():
            page = await store.read(query, after, limit)
            found += [event.position for event in page.events]
            after = page.events[-1].position if page.more else max(after, page.head)
            if not page.more:
                await store.wait(after, 0.05)
        return found

    async def story():
        async with opened(url, 3) as (first, second, reader):
            await append(first, "cart-0", Draft("a", 1, b"{}"))
            last = asyncio.get_running_loop().create_future()
            followers = [asyncio.create_task(follow(reader, query, last)) for query in queries * 2]
            await asyncio.gather(write(first, outside()), write(second, outside()))
            last.set_result(await first.head())
            async with asyncio.timeout(LONG):
                found = await asyncio.gather(*followers)
            for query, one in zip(queries * 2, found, strict=True):
                page = await first.read(query, 0, limits.PAGE_MAX)
                assert one == [event.position for event in page.events], query

    asyncio.run(story())


def test_streams_that_are_read_together_are_those_that_are_read_alone(url):
    async def story():
        async with opened(url, 2) as (writer, reader):
            for number in range(40):
                drafts = [Draft(f"kind-{number % 7}", 1, b"{}")] * (1 + number % 5)
                await append(writer, f"cart-{number}", *drafts, tenant="t" if number % 3 == 0 else "")
            await append(writer, "cart-100", *[DRAFT] * 100)
            await append(writer, "cart-101", Draft("large", 1, b'"%s"' % (b"x" * 20_000)), DRAFT)
            queries = [
                Query(stream=f"cart-{number}", tenant=tenant)
                for number in [*range(45), 100, 101]
                for tenant in ("", "t")
            ]
            alone = [await writer.read(query, 1, limits.PAGE_MAX) for query in queries]
            gone = asyncio.create_task(reader.read(queries[-1], 1, limits.PAGE_MAX))
            together = asyncio.gather(*[reader.read(query, 1, limits.PAGE_MAX) for query in queries])
            await asyncio.sleep(0)
            gone.cancel()
            for one, other in zip(await together, alone, strict=True):
                assert one.more == other.more is False
                assert [(e.stream, e.version, e.type, e.tenant, e.body) for e in one.events] == [
                    (e.stream, e.version, e.type, e.tenant, e.body) for e in other.events
                ]

    asyncio.run(story())
