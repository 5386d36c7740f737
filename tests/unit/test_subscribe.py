"""Following the log: pages in order, nothing skipped, a sign of life when nothing happens."""

import asyncio

import pytest

from foldlog import Query
from foldlog.flow.subscribe import Progress, either, follow
from tests.unit.bank import Deposit, Open, account


def test_a_follower_sees_everything_once_and_in_order(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            store, stop, positions, ends = app.system.store, asyncio.Event(), [], []

            async def read():
                async for fed in follow(store, Query(types=("account.deposited",)), 0, stop, 5, 3):
                    positions.extend(event.position for event in fed.events)
                    ends.append(fed.upto)
                    assert all(event.position <= fed.upto for event in fed.events)
                    if fed.upto == 22:
                        stop.set()

            async def write():
                for key in "ab":
                    await app.send(account, key, Open(key))
                    for _ in range(10):
                        await app.send(account, key, Deposit(1))

            await asyncio.gather(read(), write())
            assert positions == [*range(2, 12), *range(13, 23)]
            assert ends == sorted(ends)

    asyncio.run(main())


def test_when_nothing_happens_it_says_so(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            stop = asyncio.Event()
            async for fed in follow(app.system.store, Query(), 0, stop, idle=0.001):
                assert (fed.events, fed.upto) == ([], 0)
                break
            waiting = asyncio.create_task(anext(follow(app.system.store, Query(), 0, stop), None))
            await asyncio.sleep(0)
            stop.set()
            fed = await waiting
            assert fed is None or not fed.events

    asyncio.run(main())


def test_either_gives_what_the_first_raises_and_cancels_the_other():
    cancelled = []

    async def fail():
        raise ZeroDivisionError

    async def hang():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def main():
        with pytest.raises(ZeroDivisionError):
            await either(hang(), fail())
        await asyncio.sleep(0)
        assert cancelled

    asyncio.run(main())


def test_progress_wakes_whoever_waits():
    async def main():
        progress = Progress()
        waiting = [asyncio.create_task(progress.reached(position)) for position in (1, 5)]
        gone = asyncio.create_task(progress.change())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        progress.advance(1)
        await waiting[0]
        assert not waiting[1].done()
        progress.advance(7)
        await waiting[1]

    asyncio.run(main())
