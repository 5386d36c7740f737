"""A build keeps its leases, however long its folds and its commits take; time is a simulation's."""

import asyncio
from random import Random

import pytest

from foldlog import Unavailable, projection
from foldlog.flow import serving
from foldlog.flow.lease import Lease
from foldlog.flow.partition import ALL
from foldlog.flow.project import Project
from foldlog.flow.rebuild import Pace, Rebuild, claim
from foldlog.flow.subscribe import Fed, Progress
from foldlog.ports.store import Range
from foldlog.runtime.building import build_view
from foldlog.testing.simulation.loop import VirtualLoop
from foldlog.testing.simulation.process import SkewedClock
from tests.unit.bank import Deposited
from tests.unit.site import Site, quiet, until
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
        loop._now += 0.02  # noqa: SLF001 - a fold that takes its time: nothing else of its process runs meanwhile
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


def test_a_build_comes_to_its_end_though_a_partition_goes_and_comes_all_the_time(loop):
    """As where a process that shares the work starts again and again; what the others hold is not folded anew."""
    folds = []

    @projection("balances", version=2)
    def counted(row: int | None, event: Deposited) -> int:
        folds.append(event)
        return (row or 0) + event.amount

    async def main():
        app = Site(clock=SkewedClock(loop)).app([account, counted])
        async with app.open(functions=False):
            await fill(app, 40, 10)
            system, ended = app.system, asyncio.Event()
            view, store = system.views["balances"], system.store
            lease = Lease(store, system.clock, view.name, "me")
            await lease.look()
            assert await lease.take(ALL, 0)
            await claim(store, view, lease)
            project = Project(store, view, system.clock, lease, progress := Progress())
            rebuild = Rebuild(store, system.clock, system.serving, view, project, Pace(shared=True, rate=20))
            running = asyncio.create_task(project.run(rebuild.feed, ended, rebuild.shown))
            async with asyncio.timeout(200):
                while not project.settled(440):
                    await asyncio.sleep(0.9)
                    await lease.release(await project.leave([3]))
                    await asyncio.sleep(0.05)
                    await lease.look()
                    assert await lease.take([3], 0)
                    await project.join([3])
            ended.set()
            await running
            assert progress.done == 400
            assert {one.key: one.value for one in await app.find(counted)} == {str(key): 50 for key in range(40)}

    loop.run_until_complete(main())
    assert len(folds) < 500


def test_a_partition_that_cannot_be_stored_when_it_leaves_lets_no_event_be_passed_over(site):
    """What was kept is dropped then, so what comes behind it must not be folded before it."""

    async def main():
        app = site.app([account, manual])
        async with app.open(functions=False):
            await fill(app, 8, 4)
            system, ended, gate = app.system, asyncio.Event(), asyncio.Event()
            view, store = system.views["balances"], system.store
            lease = Lease(store, system.clock, view.name, "me")
            await lease.look()
            assert await lease.take(ALL, 0)
            project = Project(store, view, system.clock, lease, Progress())
            events = (await store.read(view.query, 0, 100)).events

            async def feed(after, stop):
                yield Fed(events[after:20], 20, kept=True)
                await gate.wait()
                yield Fed(events[20:], 40)
                await stop.wait()

            def refused(link, batch):
                raise Unavailable("not now")

            running = asyncio.create_task(project.run(feed, ended))
            await until(lambda: project.waiting)
            app.link.before = refused
            with pytest.raises(Unavailable):
                await project.leave(ALL[:8])
            app.link.before = quiet
            gate.set()
            await until(lambda: project.settled(40))
            ended.set()
            await running
            found, _ = await store.scan(view.table, Range())
            assert [view.decode(one) for one in found] == [40] * 8

    asyncio.run(main())
