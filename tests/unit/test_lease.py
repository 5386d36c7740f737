"""Leases: one owner at a time, a stale one is refused, a stopping one lets go at once."""

import asyncio

import pytest

from foldlog import Conflict, Context, handler
from foldlog.errors import Misconfigured
from foldlog.flow.lease import Lease, checkpoint, decode
from foldlog.ports.store import Batch, Put, RowKey, Table
from tests.unit.bank import Deposit, Open, Opened, account
from tests.unit.site import Site, kill, turns, until


def test_one_owner_at_a_time_and_a_stale_one_is_fenced(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            store = app.system.store
            one, two = (Lease(store, clock, "f", name, 10) for name in ("one", "two"))
            assert await one.acquire(7) == 0
            assert (one.position, one.fence) == (7, 1)
            assert await two.acquire(0) == pytest.approx(10, abs=0.5)
            clock.advance(4)
            assert one.due()
            await one.commit([], 8)
            assert not one.due()
            clock.advance(9)
            assert await two.acquire(0) == 1
            clock.advance(1)
            assert await two.acquire(0) == 0
            assert two.position == 8
            row = Put(Table("t"), RowKey("", "k"), b"1")
            with pytest.raises(Conflict):
                await one.commit([row], 9)
            assert not await store.get(Table("t"), [row.key])
            with pytest.raises(Conflict):
                await one.release()
            await two.commit([row], 9)
            assert two.fence > one.fence
            await two.release()
            assert await one.acquire(0) == 0
            assert one.position == 9
            assert await checkpoint(store, "g") is None

    asyncio.run(main())


def test_two_who_take_it_at_once(clock):
    async def main():
        site = Site(clock=clock)
        apps = [site.app([account]) for _ in range(2)]
        async with apps[0].open(functions=False), apps[1].open(functions=False):
            two = Lease(apps[1].system.store, clock, "f", "two", 9)
            tries = []

            def between(link, batch):
                tries.append(batch)

            one = Lease(apps[0].link, clock, "f", "one", 9)
            found = apps[0].link.get

            async def late(*args):
                rows = await found(*args)
                assert await two.acquire(0) == 0
                return rows

            apps[0].link.get = late
            assert await one.acquire(0) == one.renew_every == 3

    asyncio.run(main())


def test_a_checkpoint_of_another_log_is_refused(clock):
    async def main():
        site = Site(clock=clock)
        async with site.app([account]).open(functions=False) as app:
            lease = Lease(app.system.store, clock, "f", "one")
            await lease.acquire(0)
            row = (await app.system.store.get(Table("checkpoints"), [RowKey("", "f")]))[RowKey("", "f")]
            other = row.value.replace(decode(row).log.encode(), b"other")
            await app.system.store.commit(Batch(rows=[Put(Table("checkpoints"), row.key, other)]))
            with pytest.raises(Misconfigured, match="another log"):
                await lease.acquire(0)

    asyncio.run(main())


def seen_by(seen, gate=None):
    @handler("see")
    async def see(event: Opened, ctx: Context) -> None:
        seen.append(ctx.fence)
        if gate is not None:
            await gate.wait()

    return see


def test_only_one_of_two_apps_runs_a_function(site):
    one, two = [], []

    async def main():
        first, second = site.app([account, seen_by(one)]), site.app([account, seen_by(two)])
        await first.start()
        await until(lambda: first.runner("handler.see").owns)
        async with second:
            for key in "abc":
                await second.send(account, key, Open(key))
            await first.settle()
            assert (len(one), len(two)) == (3, 0)
            await first.stop()  # lets go: the second need not wait for the lease to end
            await second.send(account, "d", Open("d"))
            await second.settle()
            assert (len(one), len(two)) == (3, 1)

    asyncio.run(main())


def test_the_lease_of_a_dead_owner_is_taken_over_when_it_ends(site, clock):
    one, two = [], []

    async def main():
        first = site.app([account, seen_by(one, asyncio.Event())])
        await first.start()
        await first.send(account, "a", Open("a"))
        await until(lambda: one)
        await kill(first)
        async with site.app([account, seen_by(two)]) as second:
            await turns(100)
            assert not two
            clock.advance(11)
            await second.settle()
            assert len(two) == 1
            assert two[0] > one[0]

    asyncio.run(main())


def test_a_stale_owner_stores_nothing_and_the_new_one_does_its_work(clock):
    one, two = [], []
    gate = asyncio.Event()

    async def main():
        site = Site(clock=clock)
        first = site.app([account, seen_by(one, gate)])
        await first.start()
        await first.send(account, "a", Open("a"))
        await until(lambda: one)
        clock.advance(11)
        second = site.app([account, seen_by(two)])
        await second.start()
        await second.settle()
        assert (len(one), len(two)) == (1, 1)
        gate.set()  # the first one finishes, and finds that it has lost the lease
        await turns(100)
        assert not first.runner("handler.see").owns
        assert first.runner("handler.see").failure is None
        await second.send(account, "a", Deposit(1))
        await second.settle()
        await second.stop()
        await first.stop()
        assert (len(one), len(two)) == (1, 1)

    asyncio.run(main())


def test_a_busy_owner_renews_while_no_attempt_ends():
    seen, gate = [], asyncio.Event()

    async def main():
        site = Site()
        async with site.app([account, seen_by(seen, gate)], lease=0.06) as app:
            await app.send(account, "a", Open("a"))
            before = app.link.commits
            await until(lambda: app.link.commits >= before + 4)
            assert len(seen) == 1
            gate.set()
            await app.settle()
            assert len(seen) == 1

    asyncio.run(main())
