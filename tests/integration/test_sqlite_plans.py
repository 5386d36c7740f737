"""How SQLite goes about each read: by index, never through the log and never by sorting it."""

import asyncio
import re
from datetime import UTC, datetime

import pytest

from foldlog.engines.sqlite import SqliteStore, files, rows
from foldlog.engines.sqlite.log import Log
from foldlog.model.message import Draft, Kind
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Put, Range, Row, RowKey, Table

TABLE = Table("balances", ("amount",), expiring=True)
MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
QUERIES = [
    Query(),
    Query(since=MOMENT, until=datetime(2100, 1, 1, tzinfo=UTC)),
    Query(tenant=""),
    Query(tenant="acme"),
    Query(tenant="acme", types=("a", "b")),
    Query(types=("a",)),
    Query(types=("a", "b", "c")),
    Query(types=("a", "b"), tenant=""),
    Query(category="a"),
    Query(category="a", types=("b",), since=MOMENT),
    Query(tags=("t:1",)),
    Query(tags=("t:1", "u:2"), types=("a",)),
    Query(tags=("t:1",)) | Query(tags=("u:2",), types=("a",)) | Query(types=("b", "c"), tenant=""),
    Query(stream="a-1"),
    Query(stream="a-1", types=("a", "b"), tags=("t:1",), since=MOMENT),
    Query(types=("unknown",)),
]
RANGES = [
    Range(),
    Range(low="a", high="z"),
    Range(index="amount"),
    Range(index="amount", low=1),
    Range(index="amount", high=5),
    Range(index="amount", after=Row(RowKey("", "k"), b"", 1, 0, (3,))),
    Range(index="amount", after=Row(RowKey("", "k"), b"", 1, 0, (None,))),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("plans") / "log.db"

    async def body():
        store = SqliteStore(place)
        await store.open()
        drafts = [Draft(name, 1, b"{}", tags=("t:1", "u:2")) for name in "abc"]
        for stream in ("a-1", "b-1"):
            await store.commit(Batch([Append(stream, drafts)]))
            await store.commit(Batch([Append(stream, drafts, tenant="acme")]))
        await store.commit(Batch(rows=[Put(TABLE, RowKey("", "k"), b"", index=(1,))]))
        await store.close()

    asyncio.run(body())
    return place


def plans(path, work):
    """The plan's lines of every statement that the work runs."""
    conn = files.connect(str(path), readonly=True)
    asked = []
    conn.exec_trace = lambda _, sql, bindings: asked.append((sql, bindings)) or True
    work(conn)
    conn.exec_trace = None
    lines = [
        (row[3], sql)
        for sql, bindings in asked
        if sql.startswith("SELECT")
        for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
    ]
    conn.close()
    assert lines
    return lines


def check(lines):
    for line, sql in lines:
        assert "TEMP B-TREE" not in line, sql
        assert not re.match(r"SCAN (?!c VIRTUAL|CONSTANT|\(subquery)", line), f"{line}: {sql}"


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_events_are_found_by_index(path, query, backward):
    log = Log(Kind, "")
    check(plans(path, lambda conn: log.read(conn, query, 0, 5, backward=backward)))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("range", RANGES, ids=str)
def test_rows_are_found_by_index(path, range, backward):
    way = Range(range.tenant, range.index, range.low, range.high, range.after, range.limit, backward)
    check(plans(path, lambda conn: rows.scan(conn, TABLE, way, 0)))
    check(plans(path, lambda conn: rows.get(conn, TABLE, [RowKey("", "k"), RowKey("", "l")], 0)))


def test_more_kinds_than_one_statement_takes(tmp_path):
    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        for number in range(1_000):
            drafts = [Draft(f"t{number}", 1, b"{}"), Draft(f"t{999 - number}", 1, b"{}")]
            await store.commit(Batch([Append("a-1" if number % 2 else "b-1", drafts)]))
        found = []
        for backward in (False, True):
            page = await store.read(Query(category="a"), limit=700, backward=backward)
            found.append([e.position for e in page.events])
        await store.close()
        return found

    forward, backward = asyncio.run(body())
    everything = [p for number in range(1, 1_000, 2) for p in (2 * number + 1, 2 * number + 2)]
    assert forward == everything[:700]
    assert backward == everything[::-1][:700]
