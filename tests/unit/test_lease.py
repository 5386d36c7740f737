"""Leases: one owner of a partition at a time, a stale one is refused, a stopping one lets go at once."""

import asyncio

import pytest

from foldlog import Conflict, Context, handler, limits
from foldlog.errors import Misconfigured
from foldlog.flow.lease import Lease, checkpoint, checkpoint_key, checkpoints, decode
from foldlog.flow.partition import ALL
from foldlog.ports.store import Batch, Put, RowKey, Table
from tests.unit.bank import Deposit, Open, Opened, account
from tests.unit.site import Site, kill, turns, until


async def taken(lease, partitions, first=0):
    holders = await lease.look()
    return all(holders[one].left == 0 for one in partitions) and await lease.take(partitions, first)


def test_one_owner_at_a_time_and_a_stale_one_is_fenced(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            store = app.system.store
            one, two = (Lease(store, clock, "f", name, 10) for name in ("one", "two"))
            assert await taken(one, [3, 4], 7)
            assert (one.held, one.position(3), one.fence(3)) == ([3, 4], 7, 1)
            holders = await two.look()
            assert (holders[3].owner, holders[3].left) == ("one", pytest.approx(10, abs=0.5))
            assert holders[5] == ("", 0)
            clock.advance(4)
            assert one.lagging({3: 7, 4: 7}) == [3, 4]
            assert one.lagging({4: 7}) == [4]  # what is being let go is not renewed
            await one.commit([], {3: 8})
            assert one.lagging({3: 8, 4: 7}) == [3, 4]  # the other one must still be renewed
            await one.commit([], {3: 8, 4: 8})
            assert one.lagging({3: 8, 4: 8}) == []
            clock.advance(9)
            assert (await two.look())[3].left == pytest.approx(1)
            clock.advance(1)
            assert await taken(two, [3], 0)
            assert two.position(3) == 8
            row = Put(Table("t"), RowKey("", "k"), b"1")
            with pytest.raises(Conflict):
                await one.commit([row], {3: 9, 4: 9})
            assert not await store.get(Table("t"), [row.key])
            assert (await checkpoints(store, "f"))[4].position == 8
            with pytest.raises(Conflict):
                await one.release({3: 8})
            await two.commit([row], {3: 9})
            assert two.fence(3) > one.fence(3)
            await two.release({3: 4})
            assert two.held == []
            one.forget()
            assert await taken(one, [3], 0)
            assert one.position(3) == 9
            assert await checkpoint(store, "g") is None
            assert (await checkpoint(store, "f")).position == 7

    asyncio.run(main())


def test_rows_that_were_made_anew_between_two_looks_are_not_taken_for_the_old_ones(site, clock):
    """Their versions begin at 1 again."""

    async def main():
        async with site.app([account]).open(functions=False) as app:
            store = app.system.store
            one, two, three = (Lease(store, clock, "f", name, 10) for name in ("one", "two", "three"))
            assert await taken(one, ALL, 7)
            assert (await two.look())[3].owner == "one"
            await one.remove([])
            assert await taken(three, ALL, 9)
            assert (await two.look())[3].owner == "three"
            clock.advance(10)
            assert await taken(two, [3])
            assert two.position(3) == 9

    asyncio.run(main())


def test_a_checkpoint_never_goes_back(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            lease = Lease(app.system.store, clock, "f", "one")
            assert await taken(lease, ALL)
            await lease.commit([], {1: 9})
            await lease.commit([], {1: 3})
            assert (await checkpoints(app.system.store, "f"))[1].position == 9

    asyncio.run(main())


def test_a_partition_that_lags_is_written_now_and_then(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            lease = Lease(app.system.store, clock, "f", "one")
            assert await taken(lease, [0, 1, 2])
            assert lease.lagging({0: 5, 1: 0, 2: 5}) == []
            clock.advance(limits.CHECKPOINT + 0.1)
            await lease.commit([], {2: 5})
            assert lease.lagging({0: 5, 1: 0, 2: 6}) == [0]

    asyncio.run(main())


def test_commits_that_are_asked_for_together_go_one_after_the_other(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            lease = Lease(app.system.store, clock, "f", "one")
            assert await taken(lease, ALL)
            await asyncio.gather(*(lease.commit([], {1: at}) for at in range(1, 9)), lease.release({2: 0}))
            assert (lease.fence(1), lease.position(1), 2 in lease.held) == (9, 8, False)

    asyncio.run(main())


def test_two_who_take_it_at_once(site, clock):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            one, two = (Lease(app.system.store, clock, "f", name, 9) for name in ("one", "two"))
            await one.look()
            assert await taken(two, [1], 5)
            assert not await one.take([1, 2], 0)
            assert one.held == []
            assert await taken(one, [2], 0)
            assert one.position(2) == 5  # begun where the first one began

    asyncio.run(main())


def test_a_checkpoint_of_another_log_is_refused(clock):
    async def main():
        site = Site(clock=clock)
        async with site.app([account]).open(functions=False) as app:
            lease = Lease(app.system.store, clock, "f", "one")
            await taken(lease, ALL)
            key = checkpoint_key("f", 7)
            row = (await app.system.store.get(Table("checkpoints"), [key]))[key]
            other = row.value.replace(decode(row).log.encode(), b"other")
            await app.system.store.commit(Batch(rows=[Put(Table("checkpoints"), key, other)]))
            with pytest.raises(Misconfigured, match="another log"):
                await lease.look()

    asyncio.run(main())


def seen_by(seen, gate=None):
    @handler("see")
    async def see(event: Opened, ctx: Context) -> None:
        seen.append(ctx.fence)
        if gate is not None:
            await gate.wait()

    return see


def test_the_first_takes_all_and_a_second_gets_its_share(site, monkeypatch):
    monkeypatch.setattr(limits, "CHECKPOINT", 0.02)  # what waits for another's checkpoint need not wait long
    one, two = [], []

    async def main():
        first, second = site.app([account, seen_by(one)]), site.app([account, seen_by(two)])
        await first.start()
        await until(lambda: len(first.runner("handler.see").held) == 16)
        await second.start()
        await until(lambda: len(second.runner("handler.see").held) == 8)
        assert not set(first.runner("handler.see").held) & set(second.runner("handler.see").held)
        for key in range(40):
            await second.send(account, str(key), Open("ann"))
        await first.settle()
        await second.settle()
        assert len(one) + len(two) == 40
        assert one
        assert two
        await first.stop()  # lets go: the second need not wait for the leases to end
        for key in range(40, 80):
            await second.send(account, str(key), Open("ann"))
        await second.settle()
        assert len(one) + len(two) == 80
        assert len(second.runner("handler.see").held) == 16
        await second.stop()

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
        stuck, held = first.link.commit, first.runner("handler.see")

        async def hangs(batch):
            await gate.wait()
            return await stuck(batch)

        first.link.commit = hangs  # it neither renews nor beats
        clock.advance(11)
        second = site.app([account, seen_by(two)])
        await second.start()
        await until(lambda: two and len(second.runner("handler.see").held) == 16)
        await second.settle()
        assert (len(one), len(two)) == (1, 1)
        assert two[0] > one[0]
        before = await checkpoints(second.system.store, "handler.see")
        gate.set()  # the first one finishes, and finds that it has lost the lease
        await until(lambda: len(held.held) == 8)
        assert held.failure is None
        after = await checkpoints(second.system.store, "handler.see")
        assert all(after[number].position >= before[number].position for number in ALL)
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
