"""A version is dropped; crashes at every step."""

import asyncio
from contextlib import suppress

import pytest
from msgspec import structs

from foldlog import Unavailable, projection
from foldlog.errors import Conflict, Invalid, NotFound
from foldlog.flow import dropping, serving
from foldlog.flow.inbox import items
from foldlog.flow.lease import checkpoint
from foldlog.flow.serving import Served
from foldlog.flow.stale import STALE
from foldlog.ports.store import Batch, Range, Table
from foldlog.testing import FakeClock
from tests.unit.bank import Deposited, Opened, account, balances
from tests.unit.site import crash_at, kill, until
from tests.unit.view_versions import all_rows, doubled, fill, filled, manual


def broken(row: int | None, event: Opened | Deposited) -> int:
    return 1 // int(isinstance(event, Opened))


async def remains(store, version=1):
    rows = (await store.scan(Table(f"view.balances.{version}"), Range())).rows
    letters = [item async for item in items(store, f"view.balances.{version}")]
    marks = (await store.scan(STALE, Range())).rows
    assert [row.key.key for row in marks] == sorted({f"{item.function}/{item.key}" for item in letters})
    return len(rows), len(letters), await checkpoint(store, f"view.balances.{version}") is not None


def test_a_version_that_is_dropped_leaves_nothing(site, clock):
    async def main():
        async with site.app([account, projection("balances")(broken)]) as app:
            await fill(app)
            await app.settle()
            with pytest.raises(Invalid, match="is read now"):
                await dropping.drop(app.system.store, clock, "op", "balances", 1)
        async with site.app([account, doubled]) as app:
            store = app.system.store
            await app.settle()
            assert await remains(store) == (3, 3, True)
            with pytest.raises(NotFound, match="no version 7"):
                await dropping.drop(store, clock, "op", "balances", 7)
            assert await dropping.drop(store, clock, "op", "balances", 1) == 3
            assert await remains(store) == (0, 0, False)
            assert [one.version for one in await serving.versions(store, "balances")] == [2]
            assert (await serving.pointer(store, "balances"))[0] == Served(2, 0)
            with pytest.raises(Invalid, match="no version to go back to"):
                await serving.back(store, "balances")
            assert await app.get(doubled, "1") == 20

    asyncio.run(main())


def test_a_projection_that_no_code_has_goes_with_the_version_that_is_read(site, clock):
    async def main():
        async with site.app([account, projection("balances")(broken)]) as app:
            await fill(app)
            await app.settle()
        async with site.app([account, manual]) as app:
            await app.settle()
        async with site.app([account]) as app:
            store = app.system.store
            with pytest.raises(Invalid, match="drop version 2 before it"):
                await dropping.drop(store, clock, "op", "balances", 1, removed=True)
            await dropping.drop(store, clock, "op", "balances", 2, removed=True)
            with pytest.raises(Invalid, match="is read now"):
                await dropping.drop(store, clock, "op", "balances", 1)
            assert await dropping.drop(store, clock, "op", "balances", 1, removed=True) == 3
            assert await remains(store) == (0, 0, False)
            assert await serving.pointer(store, "balances") == (None, 0)
            assert await serving.versions(store, "balances") == []
            with pytest.raises(NotFound):
                await dropping.drop(store, clock, "op", "balances", 1, removed=True)
        async with site.app([account, balances]) as app:  # and may come back, as if it had never been there
            await app.settle()
            assert await app.get(balances, "1") == 10

    asyncio.run(main())


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("stored", [False, True])
def test_a_drop_of_a_removed_projection_that_dies_is_done_by_the_next_one(site, clock, number, stored):
    async def main():
        async with site.app([account, projection("balances")(broken)]) as app:
            await fill(app)
            await app.settle()
        app = site.app([account])
        await app.open_only()
        for name, hook in crash_at(number, stored=stored).items():
            setattr(app.link, name, hook)
        dropper = asyncio.create_task(dropping.drop(app.link, clock, "op", "balances", 1, removed=True))
        for _ in range(3_000):
            if dropper.done() or app.link.dead:
                break
            await asyncio.sleep(0.001 if site.url != "memory:" else 0)
        await kill(app)
        clock.advance(60)
        async with site.app([account]) as app:
            store = app.system.store
            if await serving.find_version(store, "balances", 1) != (None, 0):
                await dropping.drop(store, clock, "op", "balances", 1, removed=True)
            assert await remains(store) == (0, 0, False)
            assert await serving.pointer(store, "balances") == (None, 0)

    asyncio.run(main())


def test_a_version_that_runs_is_not_dropped(site, clock):
    async def main():
        await filled(site)
        async with site.app([account, manual]) as app:
            await app.settle()
            with pytest.raises(Invalid, match=r"view\.balances\.2 is kept up by"):
                await dropping.drop(app.system.store, clock, "op", "balances", 2)

    asyncio.run(main())


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("stored", [False, True])
def test_a_drop_that_dies_is_done_by_the_next_one(site, clock, number, stored):
    async def main():
        async with site.app([account, projection("balances")(broken)]) as app:
            await fill(app)
            await app.settle()
        async with site.app([account, doubled]) as app:
            await app.settle()
        app = site.app([account, doubled])
        await app.open_only()
        for name, hook in crash_at(number, stored=stored).items():
            setattr(app.link, name, hook)
        dropper = asyncio.create_task(dropping.drop(app.link, clock, "op", "balances", 1))
        for _ in range(3_000):
            if dropper.done() or app.link.dead:
                break
            await asyncio.sleep(0.001 if site.url != "memory:" else 0)
        died = not dropper.done()
        await kill(app)
        clock.advance(60)
        async with site.app([account, doubled]) as app:
            store = app.system.store
            if (died and not stored) or await serving.find_version(store, "balances", 1) != (None, 0):
                await dropping.drop(store, clock, "op", "balances", 1)
            assert await remains(store) == (0, 0, False)
        async with site.app([account, projection("balances")(balances.fold)]) as app:
            await app.settle()
            await serving.switch(app.system.store, "balances", 1)
            app.system.serving.forget(app.system.views["balances"])
            assert await all_rows(app, app.parts[1]) == {"0": 10, "1": 10, "2": 10}

    asyncio.run(main())


def test_code_of_a_version_that_is_half_dropped_stays_out_of_the_way(site, clock):
    async def main():
        await filled(site)
        async with site.app([account, doubled]) as app:
            await app.settle()
            found, row = await serving.find_version(app.system.store, "balances", 1)
            dropping_now = structs.replace(found, dropping=True, built=False)
            await app.system.store.commit(Batch(rows=[serving.version_put("balances", dropping_now, row)]))
        app = site.app([account, balances])
        async with app:
            store = app.system.store
            with pytest.raises(Unavailable, match="is being dropped"):
                await serving.register(store, app.system.views["balances"])
            await until(lambda: app.link.commits > 1)
            with pytest.raises(Invalid, match="is being dropped"):
                await serving.switch(store, "balances", 1)
            done = False
            async with asyncio.timeout(30):
                while not done:  # the worker may hold the lease for a moment, to look
                    with suppress(Unavailable, Conflict):
                        await dropping.drop(store, clock, "op", "balances", 1)
                        done = True
                    await asyncio.sleep(0)
                while await remains(store) != (3, 0, True):
                    await store.wait(None, 1)
            await app.settle()
            await serving.switch(store, "balances", 1)
            app.system.serving.forget(app.system.views["balances"])
            assert await all_rows(app, balances) == {"0": 10, "1": 10, "2": 10}

    asyncio.run(main())


class Watching(FakeClock):
    """Looks at the store when somebody sleeps."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen = look, []

    async def sleep(self, seconds):
        self.seen.append((seconds, await self.look()))


def test_a_table_goes_when_no_process_can_read_it_any_more(site):
    async def main():
        await filled(site)
        async with site.app([account, doubled]) as app:
            store = app.system.store
            await app.settle()

            async def look():
                found, _ = await serving.find_version(store, "balances", 1)
                return await remains(store), found.dropping, (await serving.pointer(store, "balances"))[0]

            clock = Watching(look)
            await dropping.drop(store, clock, "op", "balances", 1)
            assert clock.seen == [(1.0, ((3, 0, True), True, Served(2, 0)))]

    asyncio.run(main())
