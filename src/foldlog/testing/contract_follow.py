"""Following the log: the safe head, and waiting for what comes."""

import asyncio
import time

from foldlog.model.query import Query
from foldlog.ports.store import Batch, Delete, Store
from foldlog.testing.contract_words import append, needs_order, put, write

LONG = 30.0  # seconds that no case is meant to spend
SOON = 5.0  # seconds after which a wake-up counts as missed


async def the_head_is_0_and_then_the_last_position(store: Store) -> None:
    assert await store.head() == 0
    for count in (1, 3):
        done = await write(store, "cart-1", count)
        if store.capabilities.order:
            assert await store.head() == done.position
    head = await store.head()
    await store.commit(Batch(rows=[put("one")]))
    assert await store.head() == head > 0


async def waiting_ends_at_once_when_behind(store: Store) -> None:
    await write(store, "cart-1", 2)
    head = await store.head()
    for after in (0, head - 1):
        async with asyncio.timeout(SOON):
            await store.wait(after, LONG)


async def waiting_ends_when_something_is_appended(store: Store) -> None:
    await write(store, "cart-1")
    for number in range(3):
        waiting = await _waiting(store, await store.head())
        await write(store, f"order-{number}")
        async with asyncio.timeout(SOON):
            await waiting


async def everybody_who_waits_is_woken(store: Store) -> None:
    head = await store.head()
    waiting = [await _waiting(store, head) for _ in range(16)]
    await write(store, "cart-1")
    async with asyncio.timeout(SOON):
        await asyncio.gather(*waiting)


async def waiting_for_any_commit_ends_with_rows_too(store: Store) -> None:
    for batch in (Batch([append("cart-1")]), Batch(rows=[put("one")]), Batch(rows=[_delete("one")])):
        waiting = await _waiting(store, None)
        await store.commit(batch)
        async with asyncio.timeout(SOON):
            await waiting


async def waiting_gives_up_after_its_time(store: Store) -> None:
    await write(store, "cart-1")
    head = await store.head()
    for after in (head, head + 100, None):
        begun = time.monotonic()
        async with asyncio.timeout(SOON):
            await store.wait(after, 0.02)
        assert time.monotonic() - begun < SOON
    async with asyncio.timeout(SOON):
        await store.wait(head, 0)


async def a_reader_that_waits_misses_nothing(store: Store) -> None:
    needs_order(store)
    total, seen, after = 200, 0, 0

    async def write_all() -> None:
        for number in range(total):
            await write(store, f"cart-{number % 5}")
            await asyncio.sleep(0)

    writing = asyncio.create_task(write_all())
    async with asyncio.timeout(LONG):
        while seen < total:
            page = await store.read(Query(), after, 7)
            seen += len(page.events)
            after = page.events[-1].position if page.events else after
            if not page.events:
                await store.wait(after, LONG)
        await writing
    assert (seen, after) == (total, await store.head())


async def _waiting(store: Store, after: int | None) -> asyncio.Task[None]:
    """A task that is inside `wait` by the time this returns: it has run until it could not go on."""
    task = asyncio.create_task(store.wait(after, LONG))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def _delete(name: str) -> Delete:
    return Delete(put(name).table, put(name).key)
