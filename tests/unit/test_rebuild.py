"""A view's new version is built: crashes at every commit, stops, the pace."""

import asyncio

import pytest

from foldlog import handler, limits
from foldlog.flow import serving
from foldlog.flow.lease import Lease, checkpoint
from foldlog.flow.partition import ALL
from foldlog.flow.rebuild import Pace, Rebuild
from foldlog.flow.serving import Served
from foldlog.runtime.building import build_view
from foldlog.testing.kit import FakeClock
from tests.unit.bank import Deposit, Deposited, account
from tests.unit.site import crash_at, kill, quiet, settled_or_dead, turns, until
from tests.unit.view_versions import all_rows, doubled, filled, manual


def in_small_steps(monkeypatch):
    """Pages of two events, each stored at once, with every checkpoint."""
    for name, value in (("LEAST", 2), ("MEASURE", 0.0), ("STORE", 0.0), ("STORE_LIVE", 0.0)):
        monkeypatch.setattr(f"foldlog.limits.REBUILD_{name}", value)
    monkeypatch.setattr("foldlog.limits.CHECKPOINT", 0.0)


def test_a_build_that_dies_at_any_commit_goes_on(site, clock, monkeypatch):
    in_small_steps(monkeypatch)
    died, positions = [], [0]

    async def main():
        await filled(site)
        for number in range(1, 12):
            for stored in (False, True):
                clock.advance(11)  # the leases of the dead have run out
                app = site.app([account, manual])
                for name, hook in crash_at(number, stored=stored).items():
                    setattr(app.link, name, hook)
                died.append(await settled_or_dead(app))
                if died[-1]:
                    await kill(app)
                else:
                    app.link.before = app.link.after = quiet
                    held = await checkpoint(app.system.store, "view.balances.2")
                    positions.append(held.position)
                    await app.stop()
        clock.advance(11)
        async with site.app([account, manual]) as app:
            await app.settle()
            await serving.switch(app.system.store, "balances", 2)
            assert await all_rows(app, manual) == {"0": 20, "1": 20, "2": 20}
            assert (await serving.versions(app.system.store, "balances"))[1].built

    asyncio.run(main())
    assert died.count(True) > 12
    assert positions == sorted(positions)


def test_nothing_is_settled_before_a_build_that_goes_on_is_noted(site, monkeypatch):
    noted = Rebuild.caught_up
    gate = asyncio.Event()

    async def caught_up(self, position):
        await gate.wait()
        await noted(self, position)

    async def main():
        await filled(site)
        async with site.app([account, manual]) as app:
            gate.set()
            await app.settle()
        gate.clear()
        monkeypatch.setattr(Rebuild, "caught_up", caught_up)
        async with site.app([account, manual]) as app:  # its checkpoint is at the head already
            settling = asyncio.create_task(app.settle())
            await until(lambda: app.runner("view.balances.2").held)
            await turns()
            assert not settling.done()
            gate.set()
            await settling

    asyncio.run(main())


def test_handlers_run_for_nothing_old(site):
    seen = []

    @handler("seen")
    async def seeing(event: Deposited) -> None:
        seen.append(event)

    async def main():
        await filled(site, seeing)
        assert len(seen) == 6
        async with site.app([account, doubled, seeing]) as app:
            await app.settle()
            assert await app.get(doubled, "1") == 20
            assert len(seen) == 6
            await app.send(account, "1", Deposit(1))
            await app.settle()
            assert len(seen) == 7

    asyncio.run(main())


def test_a_build_of_its_own_stops_and_goes_on(site, monkeypatch):
    in_small_steps(monkeypatch)
    told = []

    async def main():
        await filled(site, count=8)
        app = site.app([account, doubled])
        async with app.open(functions=False):
            system, stop = app.system, asyncio.Event()
            app.link.after = lambda link, batch: stop.set() if link.commits == 40 else None
            view = system.views["balances"]
            assert not await build_view(system, view, stop, 1_000_000, told.append)
            half = await serving.progress(system.store, "balances", 2)
            assert 0 < half.position < half.head
            assert str(half).endswith("% built")
            app.link.after = lambda *_: None
            assert await build_view(system, view, asyncio.Event(), None, told.append)
            assert told[-1].percent == 100.0
            assert (await serving.pointer(system.store, "balances"))[0] == Served(1)
            assert await serving.switch(system.store, "balances", 2) == Served(2, 1)
        async with site.app([account, doubled]) as app:
            assert await app.get(doubled, "7") == 20

    asyncio.run(main())


def test_a_build_tells_how_far_it_has_folded_before_that_is_stored(site, monkeypatch):
    monkeypatch.setattr(limits, "TELL", 0.01)
    monkeypatch.setattr(limits, "REBUILD_REST", 0.1)
    monkeypatch.setattr(limits, "REBUILD_STORE", 99.0)
    told, stored = [], []

    async def main():
        await filled(site, count=8)
        app = site.app([account, doubled])
        async with app.open(functions=False):
            app.link.after = lambda _link, batch: stored.append(batch) if any(map(is_row, batch.rows)) else None
            view = app.system.views["balances"]

            def tell(progress):
                if not stored:
                    told.append(progress.position)

            assert await build_view(app.system, view, asyncio.Event(), 20, tell)
            assert stored
            assert told == sorted(told)
            assert len(set(told)) > 2

    def is_row(change):
        return change.table.name == "view.balances.2"

    asyncio.run(main())


def test_a_build_looks_on_while_another_process_builds(site):
    async def main():
        await filled(site)
        app = site.app([account, manual])
        async with site.app([account, manual]) as serves, app.open(functions=False):
            await serves.settle()
            assert await build_view(app.system, app.system.views["balances"], asyncio.Event(), None, lambda _: None)

    asyncio.run(main())


def test_a_build_takes_over_from_a_dead_process_whose_clock_was_ahead(site, clock):
    async def main():
        await filled(site)
        app = site.app([account, doubled], lease=0.05)
        async with app.open(functions=False):
            system = app.system
            view, ahead = system.views["balances"], FakeClock()
            ahead.advance(3600)
            dead = Lease(system.store, ahead, view.name, "dead")
            await dead.look()
            assert await dead.take(ALL, 0)
            async with asyncio.timeout(20):
                assert await build_view(system, view, asyncio.Event(), None, lambda _: None)

    asyncio.run(main())


def test_a_build_that_stores_apart_makes_room_for_those_who_write():
    pace = Pace(shared=False)
    least = pace.rows
    for _ in range(20):
        assert pace.folded(pace.limit, 100, pace.limit * 1e-6, 0.0, stored=False) == 0
        assert pace.stored(pace.rows, pace.rows * 1e-6) == 0
    assert (pace.limit, pace.rows) == (limits.PAGE_MAX, limits.REBUILD_ROWS)
    for number in range(20):
        assert pace.folded(pace.limit, 101 + number, pace.limit * 1e-5, 0.5, stored=False) == 0
        assert pace.stored(pace.rows // 16, pace.rows // 16 * 1e-5) > 0
    assert pace.limit == limits.PAGE_MAX
    assert pace.rows / 16 * 1e-5 == pytest.approx(limits.REBUILD_COMMIT_LIVE, rel=0.1)
    assert pace.stored(100, 9.0) == limits.REBUILD_REST
    for _ in range(20):
        pace.folded(pace.limit, 120, 0.001, 9.0, stored=False)
        assert pace.stored(pace.rows, 0.5) == 0
    assert pace.rows > least


def test_a_build_stores_the_more_rarely_the_longer_that_takes_while_others_write():
    pace = Pace(shared=False)
    pace.folded(10, 100, 0.001, 0.0, stored=False)
    waits = []
    for head, took in ((101, 0.0001), (102, 0.005), (103, 9.0)):
        pace.storing()
        for _ in range(16):
            pace.stored(100, took)
        pace.folded(10, head, 0.001, 0.5, stored=False)
        waits.append(pace.wait)
    assert waits == [limits.REBUILD_STORE_LIVE, pytest.approx(16), limits.REBUILD_STORE_RARELY]
    pace.folded(10, 103, 0.001, 9.0, stored=False)
    assert pace.wait == limits.REBUILD_STORE_LIVE, "nobody writes, and it still takes long"
    serving = Pace(shared=True)
    for head in (100, 101):
        serving.stored(100, 9.0)
        serving.folded(10, head, 0.001, 0.5, stored=False)
    assert serving.wait == limits.REBUILD_STORE_LIVE


def test_slow_folds_make_short_pages_so_that_leases_are_renewed_and_a_stop_is_heard():
    pace = Pace(shared=False)
    took = [pace.folded(pace.limit, 1, pace.limit * 0.005, 0.0, stored=False) or pace.limit * 0.005 for _ in range(20)]
    assert max(took) < limits.LEASE / 3


@pytest.mark.parametrize(("shared", "stored"), [(True, False), (False, True)])
def test_a_build_that_holds_others_up_folds_in_short_slices(shared, stored):
    pace = Pace(shared=shared)
    for number in range(40):
        assert pace.folded(pace.limit, 101 + number, pace.limit * 1e-5, 0.5, stored=stored) > 0 or not number
    assert pace.limit * 1e-5 == pytest.approx(limits.REBUILD_SLICE_LIVE, rel=0.1)
    assert pace.folded(pace.limit, 140, 0.005, 1.0, stored=stored) > 0
    assert pace.folded(pace.limit, 140, 0.005, 9.0, stored=stored) == 0


def test_a_slow_rate_makes_short_pages_so_that_no_rest_is_long():
    pace = Pace(shared=False, rate=10)
    assert pace.limit == 10
    assert pace.folded(10, 1, 0.25, 0.0, stored=False) == 0.75
    assert Pace(shared=False, rate=1).limit == 1


def test_a_build_that_serves_too_lets_its_tasks_come_on():
    shared = Pace(shared=True)
    for _ in range(20):
        assert shared.folded(shared.limit, 1, shared.limit * 1e-5, 0.0, stored=False) == 0
    assert shared.limit * 1e-5 == pytest.approx(limits.REBUILD_SLICE, rel=0.1)


def test_waiting_for_the_store_does_not_shorten_pages_while_nobody_writes():
    pace = Pace(shared=True)
    for _ in range(20):
        assert pace.folded(pace.limit, 1, 5.0, 0.0, stored=False, held=pace.limit * 1e-6) == 0
    assert pace.limit == limits.PAGE_MAX
    pace.folded(pace.limit, 1, 5.0, 0.0, stored=False, held=10.0)
    assert pace.limit < limits.PAGE_MAX
    for head in range(2, 20):
        pace.folded(pace.limit, head, 5.0, 0.0, stored=False, held=0.0)
    assert pace.limit == limits.REBUILD_LEAST, "beside others each page is short, whatever it waits for"


def test_where_storing_takes_long_it_is_done_less_often():
    pace = Pace(shared=True)
    for took, wait in (
        (0.01, limits.REBUILD_STORE),
        (0.3, 3.0),
        (9.0, limits.REBUILD_STORE_LIVE),
        (0.0, limits.REBUILD_STORE),
    ):
        pace.storing()
        pace.stored(10, took / 2)
        pace.stored(10, took / 2)
        pace.folded(10, 1, 0.001, 0.0, stored=False, held=0.001)
        assert pace.wait == pytest.approx(wait)
