"""Opening and closing: what lasts, what a closed store says, where positions begin."""

import asyncio
from typing import Any, Protocol

import pytest

from foldlog.errors import Conflict, Unavailable
from foldlog.model.query import Query
from foldlog.ports.store import Batch, Condition, Range, Store
from foldlog.testing.contract_words import (
    EXPIRING,
    FAR,
    INDEXED,
    PLAIN,
    append,
    draft,
    key,
    needs_durable,
    needs_order,
    needs_tags,
    put,
    read_all,
    refuses,
    row,
    scan_all,
    sized,
    version,
    write,
)

START = 2**33


class Connect(Protocol):
    def __call__(self, place: str = "here", start: int = 0) -> Store: ...


async def closing_twice_is_fine(connect: Connect) -> None:
    store = connect()
    await store.open()
    await write(store, "cart-1")
    await store.close()
    await store.close()


async def closing_a_store_that_was_never_open_is_fine(connect: Connect) -> None:
    await connect().close()


async def a_closed_store_refuses_everything(connect: Connect) -> None:
    store = connect()
    await store.open()
    await write(store, "cart-1")
    await store.close()
    calls: list[Any] = [
        lambda: store.commit(Batch([append("cart-1")])),
        lambda: store.read(Query()),
        lambda: store.read(Query(stream="cart-1")),
        store.head,
        lambda: store.wait(0, 0.01),
        lambda: store.wait(None, 0.01),
        lambda: store.get(PLAIN, [key("one")]),
        lambda: store.scan(PLAIN, Range()),
        lambda: store.drop(PLAIN),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call()


async def closing_finishes_or_refuses_what_was_begun(connect: Connect) -> None:
    store = connect()
    await store.open()
    writing = [asyncio.create_task(write(store, f"cart-{number}")) for number in range(64)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await store.close()
        answers = await asyncio.gather(*writing, return_exceptions=True)
    assert all(not isinstance(answer, BaseException) or isinstance(answer, Unavailable) for answer in answers)
    if store.capabilities.durable:
        again = connect()
        await again.open()
        stored = {event.key for event in await read_all(again)}
        await again.close()
        kept = {str(n) for n, answer in enumerate(answers) if not isinstance(answer, BaseException)}
        assert stored == kept, "what was answered is there, and nothing else"


async def closing_wakes_those_who_wait(connect: Connect) -> None:
    store = connect()
    await store.open()
    waiting = asyncio.create_task(store.wait(await store.head(), 30))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await store.close()
        await asyncio.gather(waiting, return_exceptions=True)


async def a_log_has_an_identity_of_its_own(connect: Connect) -> None:
    stores = [connect(place) for place in ("one", "two", "three")]
    for store in stores:
        await store.open()
    logs = {store.identity.log for store in stores}
    for store in stores:
        await store.close()
    assert len(logs) == 3
    assert all(len(log) >= 16 for log in logs)


async def a_log_may_start_anywhere(connect: Connect) -> None:
    store = connect(start=START)
    await store.open()
    assert await store.head() == 0
    assert (await store.read(Query())).events == []
    first = await write(store, "cart-1", 3)
    await write(store, "order-1")
    assert first.version == 3
    if store.capabilities.order:
        positions = [event.position for event in await read_all(store, limit=2)]
        assert positions[0] == START + 1
        assert positions == sorted(set(positions))
        assert len(positions) == 4
        assert await store.head() == positions[3]
        assert [e.position for e in (await store.read(Query(), positions[2])).events] == positions[3:]
        backward = await read_all(store, Query(category="cart"), positions[2], 1, backward=True)
        assert [event.position for event in backward] == positions[1::-1]
        assert [event.version for event in (await store.read(Query(stream="cart-1"), 1)).events] == [2, 3]
    await store.close()


async def conditions_hold_in_a_log_that_starts_late(connect: Connect) -> None:
    store = connect(start=START)
    needs_tags(store)
    needs_order(store)
    await store.open()
    taken = [draft("taken", b"{}", "seat:1")]
    condition = Condition(Query(tags=("seat:1",)), await store.head())
    done = await write(store, "cart-1", taken, condition=condition)
    assert done.position == START + 1
    await refuses(Conflict, store, Batch([append("cart-2", taken, condition=condition)]))
    await write(store, "cart-2", taken, condition=Condition(Query(tags=("seat:1",)), await store.head()))
    await store.close()


async def everything_is_there_after_reopening(connect: Connect) -> None:
    store = connect()
    needs_durable(store.capabilities)
    await store.open()
    await write(store, "cart-1", [draft("paid", b"\xff\x00", encoding="zstd"), draft("sent")])
    await write(store, "cart-1", tenant="a")
    await store.commit(Batch(rows=[put("one", b"v", position=9), sized("two", 2, "x"), sized("three", 1)]))
    await store.commit(Batch(rows=[put("kept", table=EXPIRING, expires=FAR), put("one", b"w", 1)]))
    before = [_seen(event) for event in await read_all(store)]
    head, identity = await store.head(), store.identity
    await store.close()

    store = connect()
    await store.open()
    assert [_seen(event) for event in await read_all(store)] == before
    assert (await store.head(), store.identity) == (head, identity)
    found = await row(store, "one")
    assert found is not None
    assert (found.value, found.version) == (b"w", 2)
    assert await scan_all(store, INDEXED, index="size") == ["three", "two"]
    assert await version(store, "kept", EXPIRING) == 1
    done = await write(store, "cart-1", expected=2)
    assert done.version == 3
    if store.capabilities.order:
        assert done.position is not None
        assert done.position > head
    await refuses(Conflict, store, Batch([append("cart-1", expected=2)]))
    await store.close()


async def tags_are_there_after_reopening(connect: Connect) -> None:
    store = connect()
    needs_durable(store.capabilities)
    needs_tags(store)
    await store.open()
    await write(store, "cart-1", [draft("taken", b"{}", "seat:1"), draft("taken", b"{}", "seat:2")])
    await store.close()
    store = connect()
    await store.open()
    (event,) = await read_all(store, Query(tags=("seat:2",)))
    assert event.version == 2
    await refuses(Conflict, store, Batch([append("c-1", condition=Condition(Query(tags=("seat:1",)), 0))]))
    await store.close()


async def a_dropped_table_stays_away_after_reopening(connect: Connect) -> None:
    store = connect()
    needs_durable(store.capabilities)
    await store.open()
    await store.commit(Batch(rows=[put("one"), sized("two", 2)]))
    await store.drop(INDEXED)
    await store.close()
    store = connect()
    await store.open()
    assert await scan_all(store, INDEXED) == []
    assert await version(store, "one") == 1
    await store.close()


def _seen(event: Any) -> tuple[Any, ...]:
    kind = event.type, event.schema, event.encoding
    return event.position, event.tenant, event.stream, event.version, kind, event.time, event.raw_meta, event.body
