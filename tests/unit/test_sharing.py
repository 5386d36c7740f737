"""Partitions that come and go while a handler's others are loaded or worked on: nothing is missed."""

import asyncio

import pytest

from foldlog import Conflict, Context, handler
from foldlog.flow.breaker import Circuit
from foldlog.flow.deliver import Deliver
from foldlog.flow.inbox import READY, Item
from foldlog.flow.lanes import Lanes
from foldlog.flow.lease import Lease
from foldlog.flow.subscribe import Progress, follow
from foldlog.ports.store import Batch
from tests.unit.bank import Open, Opened, account
from tests.unit.site import turns, until


def begun(system, effect):
    lease, circuit = Lease(system.store, system.clock, effect.name, "me"), Circuit(None, system.clock)
    lanes = Lanes(system.store, effect, system.execute, system.clock, lease, Progress(), circuit)
    return lease, asyncio.Event(), Deliver(lanes)


async def run(work, system, effect, stop):
    await work.run(lambda after, until: follow(system.store, effect.query, after, until, 0.01), stop)


async def taken(lease, partitions):
    await lease.look()
    return await lease.take(partitions, 0)


def test_partitions_that_join_while_others_are_still_loaded_miss_no_event(site):
    seen, gate = [], asyncio.Event()

    @handler("see")
    async def see(event: Opened, ctx: Context) -> None:
        seen.append(ctx.recorded.key)

    async def main():
        async with site.app([account, see]).open(functions=False) as app:
            for number in range(64):
                await app.send(account, f"{number:02}", Open("x"))
            system, (effect,), scan = app.system, app.system.functions(), app.link.scan

            async def slow(table, span):
                await gate.wait()
                return await scan(table, span)

            app.link.scan = slow
            lease, stop, work = begun(system, effect)
            assert await taken(lease, range(5))
            running = asyncio.create_task(run(work, system, effect, stop))
            await turns()
            assert await taken(lease, range(5, 8))
            second = asyncio.create_task(work.join(range(5, 8)))
            await turns()
            gate.set()
            await second
            await until(lambda: work.settled(64))
            gate.clear()
            assert await taken(lease, range(8, 16))
            third = asyncio.create_task(work.join(range(8, 16)))
            await asyncio.sleep(0.05)  # a feed of before would say now that it has come to the head
            gate.set()
            await third
            await until(lambda: work.settled(64))
            stop.set()
            await running

    asyncio.run(main())
    assert sorted(seen) == [f"{number:02}" for number in range(64)]


def test_partitions_that_leave_while_they_are_loaded(site):
    gate = asyncio.Event()

    @handler("see")
    async def see(event: Opened, ctx: Context) -> None:
        pass

    async def main():
        async with site.app([account, see]).open(functions=False) as app:
            system, (effect,), scan = app.system, app.system.functions(), app.link.scan
            put = Item(effect.name, 1, 0, "k", status=READY, due=2**60).put()
            await app.system.store.commit(Batch(rows=[put]))

            async def slow(table, span):
                found = await scan(table, span)
                await gate.wait()
                return found

            app.link.scan = slow
            lease, stop, work = begun(system, effect)
            assert await taken(lease, range(5))
            running = asyncio.create_task(run(work, system, effect, stop))
            await turns()
            leaving = asyncio.create_task(work.leave([0]))
            await turns()
            gate.set()
            assert await leaving == {0: 0}
            assert set(work.seen) == {1, 2, 3, 4}
            stop.set()
            await running

    asyncio.run(main())


def test_partitions_that_join_a_run_that_has_lost_a_lease_meanwhile(site):
    """What is told then is the lost lease, after which the function goes on, not that the run takes nothing new."""
    gate = asyncio.Event()

    @handler("see")
    async def see(event: Opened, ctx: Context) -> None:
        gate.clear()

    def lose(link, batch):
        raise Conflict("row checkpoints/handler.see/01", 1, 2, row="checkpoints/handler.see/01")

    async def main():
        async with site.app([account, see]).open(functions=False) as app:
            system, (effect,), scan = app.system, app.system.functions(), app.link.scan

            async def slow(table, span):
                await gate.wait()
                return await scan(table, span)

            app.link.scan = slow
            lease, stop, work = begun(system, effect)
            assert await taken(lease, range(15))
            gate.set()
            running = asyncio.create_task(run(work, system, effect, stop))
            await until(lambda: work.settled(0))
            assert await taken(lease, [15])
            await app.send(account, "2", Open("x"))
            app.link.before = lose
            await until(lambda: not gate.is_set())
            joining = asyncio.create_task(work.join([15]))
            await asyncio.wait([running])
            gate.set()
            await asyncio.wait([joining])
            assert joining.cancelled()
            with pytest.raises(ExceptionGroup) as raised:
                await running
            assert raised.group_contains(Conflict)

    asyncio.run(main())
