"""Index entries that move from the small table to the large one: none is lost, doubled or out of order."""

import asyncio
import random

import pytest

from foldlog.engines.memory import MemoryStore
from foldlog.engines.sqlite import SqliteStore, files, merging
from foldlog.engines.sqlite.appends import Appends
from foldlog.errors import Conflict
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Condition


def batches(seed: int, count: int) -> list[Batch]:
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        streams = draw.sample(range(30), draw.choice([1, 1, 3]))
        appends = []
        for stream in streams:
            tags = tuple({f"t:{draw.randrange(8)}" for _ in range(draw.randrange(3))})
            drafts = [Draft("a", 1, b"{}", tags=tags)] * draw.choice([1, 2, 7])
            appends.append(Append(f"s-{stream}", drafts, tenant=draw.choice(["", "", "b"])))
        made.append(Batch(appends))
    return made


async def everything(store) -> list[object]:
    found = []
    for tenant in ("", "b"):
        queries = [Query(stream=f"s-{number}", tenant=tenant) for number in range(30)]
        queries += [Query(tags=(f"t:{number}",), tenant=tenant) for number in range(8)]
        queries.append(Query(tags=("t:1", "t:2"), tenant=tenant))
        for query in queries:
            for backward in (False, True):
                after, more = 0, True
                while more:
                    page = await store.read(query, after, 7, backward=backward)
                    found.append([(e.position, e.stream, e.version) for e in page.events])
                    more = page.more
                    if page.events:
                        after = page.events[-1].version if query.stream else page.events[-1].position
    return found


@pytest.mark.parametrize("seed", range(4))
def test_reads_are_those_of_the_memory_engine(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(merging, "NEW_ENTRIES", 20)
    monkeypatch.setattr(merging, "STRETCH", 6)
    path = tmp_path / "log.db"

    async def body():
        memory = MemoryStore()
        await memory.open()
        for part in (batches(seed, 60), batches(seed + 100, 60)):
            # Opened anew in the middle: where the moving had come to is forgotten.
            one, other = SqliteStore(path), SqliteStore(path)
            await one.open()
            await other.open()  # two writers in turn: each sees that the other has written
            for number, batch in enumerate(part):
                await (one if number % 5 else other).commit(batch)
                await memory.commit(batch)
            assert await everything(one) == await everything(memory)
            await one.close()
            await other.close()
        await memory.close()

    asyncio.run(body())
    conn, _ = files.open_file(str(path))
    events = conn.execute("SELECT stream, version, position FROM events ORDER BY 1, 2").fetchall()
    entries = conn.execute("SELECT * FROM by_stream UNION ALL SELECT * FROM by_stream_new ORDER BY 1, 2").fetchall()
    assert entries == events
    small, large = conn.execute("SELECT (SELECT count(*) FROM by_stream_new), (SELECT count(*) FROM by_stream)").get
    assert small <= 20 < large
    overlap = "SELECT count(*) FROM by_stream AS o JOIN by_stream_new AS n USING (stream) WHERE o.version > n.version"
    assert conn.execute(overlap).get == 0
    conn.close()


def test_a_condition_sees_what_moved_in_its_own_transaction(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "NEW_ENTRIES", 2)
    monkeypatch.setattr(merging, "STRETCH", 1)

    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        draft = Draft("a", 1, b"{}", tags=("seat:1",))
        condition = Condition(Query(tags=("seat:1",)), 0)
        # One group: the first winner's tag may have moved before the others are checked.
        tries = [store.commit(Batch([Append(f"s-{n}", [draft], condition=condition)])) for n in range(9)]
        answers = await asyncio.gather(*tries, return_exceptions=True)
        await store.close()
        return answers

    answers = asyncio.run(body())
    assert [isinstance(one, Conflict) for one in answers].count(False) == 1


def test_a_rollback_forgets_where_the_moving_was(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "NEW_ENTRIES", 6)
    monkeypatch.setattr(merging, "STRETCH", 2)
    flush = Appends.flush

    def fails(self) -> None:
        flush(self)
        raise MemoryError("after entries have moved")

    def some(count: int) -> Batch:
        return Batch([Append("s-0", [Draft("a", 1, b"{}")] * count)])

    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        await store.commit(some(6))
        monkeypatch.setattr(Appends, "flush", fails)
        with pytest.raises(MemoryError):
            await store.commit(some(3))
        monkeypatch.setattr(Appends, "flush", flush)
        await store.commit(some(1))
        page = await store.read(Query(stream="s-0"))
        await store.close()
        return [event.version for event in page.events]

    assert asyncio.run(body()) == [1, 2, 3, 4, 5, 6, 7]
