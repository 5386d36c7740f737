"""What only the memory engine promises; everything else is in the contract."""

import asyncio

from foldlog.engines.memory import MemoryStore
from foldlog.model.message import Draft, Kind
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Put, RowKey, Table

MARKS = Table("marks", expiring=True)


def opened(body, **options):
    async def run():
        store = MemoryStore(**options)
        await store.open()
        return await body(store)

    return asyncio.run(run())


def test_a_clock_that_jumps_back_does_not_turn_recorded_time_back():
    ticks = iter([100, 90, 95, 101, 0, 0])

    async def body(store):
        return [(await store.commit(Batch([Append("cart-1", [Draft("seen", 1, b"")])])))[0].time for _ in range(5)]

    assert opened(body, now=lambda: next(ticks)) == [100, 100, 100, 101, 101]


def test_a_row_expires_by_the_stores_clock_as_it_is_now():
    now = [10]

    async def body(store):
        key = RowKey("", "one")
        await store.commit(Batch(rows=[Put(MARKS, key, b"", expires=20)]))
        seen = []
        for moment in (19, 20, 19):
            now[0] = moment
            seen.append(bool(await store.get(MARKS, [key])))
        return seen

    assert opened(body, now=lambda: now[0]) == [True, False, True]


def test_the_factory_is_asked_once_for_each_kind():
    asked = []

    def kinds(*said):
        asked.append(said)
        return Kind(*said)

    async def body(store):
        drafts = [
            Draft("seen", 1, b""),
            Draft("seen", 1, b""),
            Draft("seen", 2, b""),
            Draft("seen", 1, b"", b"{}", (), "x"),
        ]
        await store.commit(Batch([Append("cart-1", drafts), Append("cart-2", drafts)]))
        return {event.kind for event in (await store.read(Query())).events}

    assert len(opened(body, kinds=kinds)) == 3
    assert asked == [("cart", "seen", 1, "json"), ("cart", "seen", 2, "json"), ("cart", "seen", 1, "x")]


def test_who_is_cancelled_when_a_commit_has_just_woken_it_is_cancelled():
    async def main():
        store = MemoryStore()
        await store.open()
        waiting = asyncio.create_task(store.wait(None, 30))
        await asyncio.sleep(0)
        await store.commit(Batch(rows=[Put(Table("t"), RowKey("", "k"), b"1")]))
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()

    asyncio.run(main())
