"""Rows that another process keeps, waited for: touched by the event or not, there or gone, one look for all."""

import asyncio

import pytest

from foldlog import Unavailable, projection
from foldlog.flow import serving
from foldlog.testing import FakeClock
from tests.unit.bank import Close, Deposit, Deposited, Open, account, balances
from tests.unit.site import Site, until
from tests.unit.view_versions import filled, manual


@projection("largest", key=lambda event: "one" if event.amount > 100 else None or ())
def largest(row: int | None, event: Deposited) -> int:
    return max(row or 0, event.amount)


def told(site, story):
    async def main():
        parts = [account, balances, largest]
        async with site.app(parts) as folding, site.app(parts).open(functions=False) as app:
            await folding.settle()
            await app.send(account, "a", Open("ann"))
            await story(app)

    asyncio.run(main())


def another(site):
    """An app that folds, in the place of one that has stopped."""
    return site.app([account, balances, largest])


def test_a_row_shows_what_was_sent(site):
    async def story(app):
        for number in range(1, 20):
            receipt = await app.send(account, "a", Deposit(1))
            assert await app.get(balances, "a", after=receipt) == number

    told(site, story)


def test_a_row_that_the_event_does_not_touch_and_one_that_is_gone(site):
    async def story(app):
        await app.send(account, "b", Open("bob"))
        receipt = await app.send(account, "b", Deposit(1_000))
        assert await app.get(largest, "one", after=receipt) == 1_000
        receipt = await app.send(account, "b", Deposit(5))
        assert await app.get(largest, "one", after=receipt) == 1_000
        assert await app.get(balances, "nobody", after=receipt) is None
        receipt = await app.send(account, "b", Close())
        assert await app.get(balances, "b", after=receipt) is None
        assert await app.get(balances, "a", after=receipt) == 0

    told(site, story)


def test_who_waits_longer_than_it_takes_is_told(site):
    async def main():
        async with another(site) as folding:
            await folding.settle()
        async with site.app([account, balances, largest]).open(functions=False) as app:
            await app.send(account, "a", Open("ann"))
            await story(app)

    async def story(app):
        receipt = await app.send(account, "a", Deposit(1))
        waiting = [asyncio.create_task(app.get(balances, "a", after=receipt, timeout=60)) for _ in range(3)]
        with pytest.raises(Unavailable, match="did not come to position"):
            await app.get(balances, "a", after=receipt, timeout=0.01)
        assert not any(task.done() for task in waiting)
        async with another(site):
            assert await asyncio.gather(*waiting) == [1, 1, 1]

    asyncio.run(main())


def test_many_who_wait_share_their_looks(site):
    async def main():
        async with another(site) as folding:
            await folding.settle()
        async with site.app([account, balances, largest]).open(functions=False) as app:
            await story(app)

    async def story(app):
        reads, get = [], app.link.inner.get

        async def counted(table, keys):
            reads.append((table.name, len(keys)))
            return await get(table, keys)

        app.link.get = counted
        receipts = await asyncio.gather(*[app.send(account, str(n), Open("x")) for n in range(200)])
        waiting = [asyncio.create_task(app.get(balances, str(n), after=receipt)) for n, receipt in enumerate(receipts)]
        await until(lambda: max((count for name, count in reads if name.startswith("view.balances")), default=0) == 200)
        async with another(site):
            assert await asyncio.gather(*waiting) == [0] * 200
        assert len(reads) < 200

    asyncio.run(main())


def test_a_switch_meanwhile_is_not_answered_with_a_row_of_the_version_before():
    clock = FakeClock()
    site = Site(clock=clock)

    async def main():
        await filled(site)
        async with site.app([account, manual]) as app:
            await app.settle()
        async with site.app([account, manual]).open(functions=False) as app:
            receipt = await app.send(account, "1", Deposit(5))
            waiting = asyncio.create_task(app.get(manual, "1", after=receipt, timeout=60))
            await until(lambda: vars(app.system.awaited)["_waiting"])
            await serving.switch(app.system.store, "balances", 2)
            clock.advance(1.0)
            async with site.app([account, balances]) as before:
                await before.settle()
            async with site.app([account, manual]):
                assert await waiting == 30

    asyncio.run(main())


def test_rows_are_read_in_the_order_in_which_they_are_waited_for(site):
    """The same in every process: a simulation is told by its seed."""

    async def main():
        async with site.app([account, balances, largest]).open(functions=False) as app:
            receipt = await app.send(account, "a", Open("ann"))
            reads, get = [], app.link.inner.get

            async def noted(table, keys):
                reads.append([key.key for key in keys])
                return await get(table, keys)

            app.link.get = noted
            keys = [str(number) for number in range(50)]
            waiting = [asyncio.create_task(app.get(balances, key, after=receipt)) for key in keys]
            await until(lambda: any(len(read) == len(keys) for read in reads))
            assert keys in reads
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())
