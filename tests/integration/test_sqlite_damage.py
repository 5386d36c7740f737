"""Damage on disk: a read gives what was written, or `Corrupt`; never anything else."""

import asyncio
import random

import pytest

from foldlog.engines.sqlite import SqliteStore, files
from foldlog.errors import Corrupt
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Condition, Put, Range, RowKey, Table

TABLE = Table("balances", ("amount",))
QUERIES = [Query(), Query(types=("a",)), Query(category="b"), Query(tags=("t:1",)), Query(stream="a-7")]


async def asked(store):
    """Everything the store can be asked, as plain values."""
    pages = [await store.read(query, limit=10_000) for query in QUERIES]
    rows = [await store.scan(TABLE, Range(limit=1_000)), await store.scan(TABLE, Range(index="amount", limit=1_000))]
    events = [[(e.position, e.stream, e.version, e.type, e.time, e.raw_meta, e.body) for e in p.events] for p in pages]
    return events, [found.rows for found in rows], [page.head for page in pages]


async def ask(path):
    store = SqliteStore(path)
    await store.open()
    try:
        return await asked(store)
    finally:
        await store.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A file of some hundred pages, and what it says."""
    path = tmp_path_factory.mktemp("sound") / "log.db"

    async def body():
        store = SqliteStore(path)
        await store.open()
        for i in range(60):
            drafts = [Draft("a" if i % 2 else "b", 1, b"%d" % i * 80, tags=(f"t:{i % 9}",)) for _ in range(10)]
            put = Put(TABLE, RowKey("", f"k{i}"), b"%d" % i * 200, index=(i,))
            await store.commit(Batch([Append(f"{'ab'[i % 2]}-{i}", drafts)], [put]))
        answers = await asked(store)
        await store.close()
        return answers

    answers = asyncio.run(body())
    return path.read_bytes(), answers


def places(size, count):
    """Offsets over the whole file, the first page more often."""
    chosen = random.Random(7)
    return [chosen.randrange(100) for _ in range(count // 4)] + [chosen.randrange(size) for _ in range(count)]


def test_no_flipped_bit_changes_an_answer(sound, tmp_path):
    content, answers = sound
    path = tmp_path / "log.db"
    found = 0
    for offset in places(len(content), 60):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        try:
            assert asyncio.run(ask(path)) == answers, f"a flip at {offset} went unnoticed and changed an answer"
        except Corrupt:
            found += 1
        for leftover in tmp_path.glob("log.db-*"):
            leftover.unlink()
    assert found > 40


@pytest.mark.parametrize("size", [50, 100, 4_096, 4_097, 40_960, -4_096, -4_000, -2_000, -100, -1])
def test_a_cut_file_is_found_out(sound, tmp_path, size):
    content, _ = sound
    path = tmp_path / "log.db"
    path.write_bytes(content[:size])
    with pytest.raises(Corrupt):
        asyncio.run(ask(path))


def test_a_commit_that_meets_damage_says_so_and_harms_no_other(sound, tmp_path):
    content, _ = sound
    path = tmp_path / "log.db"
    path.write_bytes(content)
    conn, _ = files.open_file(str(path))
    # The page of the index in which a condition looks tags up; streams and events are sound.
    page = conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'by_tag'").get
    conn.close()
    damaged = bytearray(path.read_bytes())
    damaged[(page - 1) * 4_096 + 2_000] ^= 1
    path.write_bytes(damaged)

    async def body():
        store = SqliteStore(path)
        await store.open()
        good = Batch([Append("c-1", [Draft("a", 1, b"{}")])])
        condition = Condition(Query(tags=("t:1",)), 0)
        bad = Batch([Append("c-2", [Draft("a", 1, b"{}")], condition=condition)])
        answers = await asyncio.gather(
            store.commit(good), store.commit(bad), store.commit(good), return_exceptions=True
        )
        await store.close()
        return answers

    first, second, third = asyncio.run(body())
    assert isinstance(second, Corrupt)
    assert [first[0].version, third[0].version] == [1, 2]
