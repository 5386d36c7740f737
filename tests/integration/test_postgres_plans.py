"""How PostgreSQL goes about each statement: by index, never through a table that grows with the log."""

import asyncio
import re
from datetime import UTC, datetime

import pytest

from foldlog.engines.postgres import PostgresStore, log, matching, rows, statement, writer
from foldlog.engines.postgres import session as sessions
from foldlog.engines.postgres.address import parse
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Check, Delete, Put, Range, Row, RowKey, Table

TABLE = Table("balances", ("amount",), expiring=True)
MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
QUERIES = [
    Query(),
    Query(since=MOMENT, until=datetime(2100, 1, 1, tzinfo=UTC)),
    Query(tenant="acme"),
    Query(tenant="acme", types=("a", "b")),
    Query(types=("a", "b")),
    Query(types=("a", "b"), tenant=""),
    Query(category="a", types=("b",), since=MOMENT),
    Query(tags=("t:1",)),
    Query(tags=("t:1", "u:2"), types=("a",)),
    Query(tags=("t:1",)) | Query(tags=("u:2",), types=("a",)) | Query(types=("b", "c"), tenant=""),
    Query(stream="a-1"),
    Query(stream="a-1", types=("a", "b"), tags=("t:1",), since=MOMENT),
]
KEY = RowKey("", "k")
RANGES = [
    Range(),
    Range(low="a", high="z"),
    Range(index="amount"),
    Range(index="amount", low=1, high=5),
    Range(index="amount", after=Row(KEY, b"", 1, 0, (3,))),
    Range(index="amount", after=Row(KEY, b"", 1, 0, (None,)), backward=True),
]
GROWING = re.compile(r"Seq Scan on (events|streams|tags|rows_\d+)")


def inner(plan):
    """What the plan's nested loops read anew for each of their rows."""
    parts = plan.get("Plans", [])
    mine = [parts[1].get("CTE Name")] if plan["Node Type"] == "Nested Loop" else []
    return mine + [name for part in parts for name in inner(part)]


@pytest.mark.parametrize("several", [False, True])
def test_a_group_of_thousands_is_not_read_anew_for_each_of_them(postgres_url, several):
    """The plan is made without knowing how many there are: only a hash serves one as well as thousands."""
    address = parse(postgres_url())

    async def story():
        store = PostgresStore(postgres_url())
        await store.open()
        await store.close()
        text = statement.text(statement.Shape(True, False, False, True, several, ()), address.schema)
        nothing = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", text))))
        async with await sessions.connect(address) as conn:
            await sessions.fetch(conn, f"PREPARE group_ AS {text}", once=True)
            ((plan,),) = await sessions.fetch(conn, f"EXPLAIN (FORMAT JSON) EXECUTE group_({nothing})", once=True)
        return plan[0]["Plan"]

    assert set(inner(asyncio.run(story()))) <= {None, "w", "begun", "locks", "clock", "ranks"}, (
        "each of these is one row"
    )


@pytest.fixture
def plans(monkeypatch):
    """The plans of all statements that run, as they are once a statement is prepared."""
    found = []
    fetch = sessions.fetch

    async def explained(conn, statement, params=(), *, once=False):
        if statement.startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")) and "pg_catalog" not in statement:
            await conn.execute("BEGIN")
            plan = await conn.execute(f"EXPLAIN {statement}".encode(), params, prepare=False)
            found.append((statement, "\n".join([line async for (line,) in plan])))
            await conn.execute("ROLLBACK")
        return await fetch(conn, statement, params, once=once)

    for module in (log, matching, rows, writer):
        monkeypatch.setattr(module, "fetch", explained)
    return found


def told(url, story):
    async def run():
        store = PostgresStore(url)
        await store.open()
        drafts = [Draft(name, 1, b"{}", tags=("t:1", "u:2")) for name in "abc"]
        for number in range(40):
            put = Put(TABLE, RowKey("", f"k{number}"), b"", index=(number,), expires=2**60)
            tenant = "acme" if number % 2 else ""
            await store.commit(Batch([Append(f"a-{number % 3}", drafts, tenant=tenant)], [put]))
        await story(store)
        await store.close()

    asyncio.run(run())


def through_tables(plans):
    return [f"{statement}\n{plan}" for statement, plan in plans if GROWING.search(plan)]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_reads_of_the_log(postgres_url, plans, query):
    async def story(store):
        plans.clear()
        for backward in (False, True):
            await store.read(query, 0, 10, backward=backward)

    told(postgres_url(), story)
    assert plans
    assert not through_tables(plans)


def test_rows_and_commits(postgres_url, plans):
    async def story(store):
        for span in RANGES:
            await store.scan(TABLE, span)
        await store.get(TABLE, [KEY])
        await store.get(TABLE, [RowKey("", f"k{n}") for n in (1, 2, 3, 4)])
        changes = [
            Put(TABLE, RowKey("", "k1"), b"", 1, index=(1,)),
            Put(TABLE, RowKey("", "new"), b"", 0, index=(1,)),
            Put(TABLE, RowKey("", "k2"), b"", index=(None,)),
            Delete(TABLE, RowKey("", "k3")),
            Delete(TABLE, RowKey("", "k4"), 1),
            Check(TABLE, RowKey("", "k5"), 1),
        ]
        await store.commit(Batch([Append("a-1", [Draft("a", 1, b"{}", tags=("t:1",))])], changes))

    told(postgres_url(), story)
    assert len(plans) > 40
    assert not through_tables(plans)
    assert any("INSERT INTO" in statement and "JOIN heads" in statement for statement, _ in plans)


def test_a_sequential_scan_would_be_seen(postgres_url):
    async def story():
        conn = await sessions.connect(parse(postgres_url()))
        await conn.execute("CREATE TEMP TABLE events (n int)")
        plan = await conn.execute("EXPLAIN SELECT * FROM events WHERE n > 1")
        text = "\n".join([line async for (line,) in plan])
        await conn.close()
        assert GROWING.search(text)

    asyncio.run(story())
