"""A build keeps its leases, however long its folds and its commits take; time is a simulation's."""

import asyncio
from random import Random

import pytest

from foldlog import projection
from foldlog.flow import serving
from foldlog.flow.lease import Lease
from foldlog.runtime.building import build_view
from foldlog.testing.simulation.loop import VirtualLoop
from foldlog.testing.simulation.process import SkewedClock
from tests.unit.bank import Deposited
from tests.unit.site import Site
from tests.unit.view_versions import account, fill, manual


@pytest.fixture
def loop():
    return VirtualLoop(Random(1))


def test_slow_commits_of_many_partitions_lose_no_lease(loop):
    """Each takes a second and is followed by as long a rest, so that all of them take three times a lease."""
    free = []

    async def main():
        app = Site(clock=SkewedClock(loop)).app([account, manual])
        async with app.open(functions=False):
            await fill(app, 64)
            system, commit = app.system, app.link.commit
            view = system.views["balances"]
            looks = Lease(system.store, system.clock, view.name, "another")

            async def slow(batch):
                await asyncio.sleep(1)
                done = await commit(batch)
                free.extend(one for one in (await looks.look()).values() if one.owner and not one.left)
                return done

            app.link.commit = slow
            assert await build_view(system, view, asyncio.Event(), None, lambda _: None)
            assert (await serving.versions(system.store, "balances"))[0].built

    loop.run_until_complete(main())
    assert not free


def test_slow_folds_of_a_build_of_its_own_lose_no_lease(loop):
    """Nobody else runs in such a process while it folds a page, so the page must be over in time."""
    longest = []

    @projection("balances", version=2)
    def slow(row: int | None, event: Deposited) -> int:
        loop._now += 0.02  # a fold that takes its time: nothing else of its process runs meanwhile
        return (row or 0) + event.amount

    async def main():
        app = Site(clock=SkewedClock(loop)).app([account, slow])
        async with app.open(functions=False):
            await fill(app, 50, 100)
            system, commit, renewed = app.system, app.link.commit, [loop.time()]

            async def timed(batch):
                longest.append(loop.time() - renewed[-1])
                renewed.append(loop.time())
                return await commit(batch)

            app.link.commit = timed
            assert await build_view(system, system.views["balances"], asyncio.Event(), None, lambda _: None)
            assert await app.get(slow, "7") == 500

    loop.run_until_complete(main())
    assert max(longest) < 5
