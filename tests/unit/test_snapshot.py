"""Snapshots: the same answers with and without them, and the work of the last events only."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import Rejected
from foldlog.flow.snapshot import SNAPSHOTS
from foldlog.ports.store import Batch, Put, Range, RowKey
from foldlog.testing.kit import FakeClock
from tests.unit.bank import Close, Deposit, Open, evolve
from tests.unit.long_streams import counting, doubled, grow, refuse_snapshots, row, saved, saving, waiting
from tests.unit.site import Site, kill, quiet, until


def test_a_stream_of_100_000_events_is_loaded_by_its_last_ones(site):
    async def main():
        part = saving(100)
        async with site.app([part]).open(functions=False) as app:
            await grow(app.link, "account-1", 100_000)
            assert await app.get(part, "1") == 100_000
            await saved(app, 100_000)
            await grow(app.link, "account-1", 99)
        async with site.app([part]).open(functions=False) as app:
            count = counting(app)
            await app.send(part, "1", Deposit(1))
            assert count[0] <= 101
            assert await app.get(part, "1") == 100_100

    asyncio.run(main())


def test_it_is_saved_after_commands_and_counts_from_the_last_one(site):
    async def main():
        part = saving(3)
        versions = []
        async with site.app([part]).open(functions=False) as app:
            app.link.before = lambda link, batch: versions.extend(
                one.position for one in batch.rows if one.table is SNAPSHOTS
            )
            await app.send(part, "1", Open("ann"))
            for _ in range(7):
                await app.send(part, "1", Deposit(1))
                await asyncio.sleep(0)
                await until(lambda: not waiting(app))
            await saved(app, 6)
        async with site.app([part]).open(functions=False) as app:
            app.link.before = lambda link, batch: versions.extend(
                one.position for one in batch.rows if one.table is SNAPSHOTS
            )
            await app.send(part, "1", Deposit(1))
        assert versions == [3, 6, 9]

    asyncio.run(main())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from("12"), st.integers(1, 5)),
        st.tuples(st.just("close"), st.sampled_from("12"), st.just(0)),
        st.tuples(st.just("grow"), st.sampled_from("12"), st.integers(1, 6)),
        st.tuples(
            st.sampled_from(["restart", "kill", "change", "plant", "losing"]), st.sampled_from("12"), st.integers(0, 3)
        ),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_answers_are_those_of_a_fold_of_the_whole_stream(steps, every):
    asyncio.run(same_answers(steps, every))


async def same_answers(steps, every):
    site, folds = Site("memory:", FakeClock()), [evolve, doubled]

    async def opened():
        app = site.app([saving(every, folds[0])])
        await app.open_only()
        return app

    app = await opened()
    for step, key, number in steps:
        if step in {"restart", "change", "kill"}:
            await (kill(app) if step == "kill" else app.stop())
            if step == "change":
                folds.reverse()
            app = await opened()
        else:
            await one_step(app, step, key, number)
        for one in "12":
            whole = None
            async for happened in app.read(f"account-{one}"):
                whole = folds[0](whole, happened.data)
            assert await app.get(app.parts[0], one) == whole
        assert len((await app.link.inner.scan(SNAPSHOTS, Range())).rows) <= 2
    await app.stop()


async def one_step(app, step, key, number):
    match step:
        case "send" | "close":
            try:
                await app.send(app.parts[0], key, Deposit(number) if step == "send" else Close())
            except Rejected:
                await app.send(app.parts[0], key, Open("ann"))
        case "grow":
            await grow(app.link.inner, f"account-{key}", number)
        case "plant":
            await plant(app.link.inner, f"account-{key}", number)
        case "losing":
            app.link.before = refuse_snapshots if number else quiet


async def plant(store, stream, how):
    """Spoil a snapshot: cut it, change its state, give it to another stream, or make it older."""
    key, other = RowKey("", stream), RowKey("", "account-2" if stream == "account-1" else "account-1")
    found = (await store.get(SNAPSHOTS, [key])).get(key)
    value = b"{}" if found is None else found.value
    changes = [
        Put(SNAPSHOTS, key, value[: len(value) // 2]),
        Put(SNAPSHOTS, key, value.replace(b'"state":', b'"state":7')),
        Put(SNAPSHOTS, other, value),
        Put(SNAPSHOTS, key, b"\xff"),
    ]
    await store.commit(Batch(rows=[changes[how]]))


def test_a_saver_that_fails_fails_no_command_and_says_so(site, caplog):
    async def main():
        part = saving(1)
        async with site.app([part]).open(functions=False) as app:
            app.link.before = refuse_snapshots
            for number in range(3):
                await app.send(part, str(number), Open("ann"))
                await app.send(part, str(number), Deposit(5))
                assert await app.get(part, str(number)) == 5
        async with site.app([part]).open(functions=False) as app:
            assert await row(app) is None
            assert await app.get(part, "1") == 5
        assert "a snapshot was not saved" in caplog.text

    asyncio.run(main())


def test_a_command_does_not_wait_for_its_snapshot_and_a_full_queue_is_no_obstacle(clock, monkeypatch):
    monkeypatch.setattr("foldlog.limits.SNAPSHOT_QUEUE", 2)
    monkeypatch.setattr("foldlog.limits.SNAPSHOT_STOP", 0.01)

    async def main():
        part, blocked, site = saving(1), asyncio.Event(), Site("memory:", clock)
        app = site.app([part])
        commit = app.link.commit

        async def slow(batch):
            if any(one.table is SNAPSHOTS for one in batch.rows):
                await blocked.wait()
            return await commit(batch)

        app.link.commit = slow
        async with app.open(functions=False):
            for number in range(9):
                await app.send(part, str(number), Open("ann"))
            queue = waiting(app)
            assert len(queue) == 2
            blocked.set()
            await until(lambda: not queue)
            assert await row(app, "account-8") is None
            await app.send(part, "8", Deposit(1))
            await saved(app, 2, "account-8")
            blocked.clear()
            await app.send(part, "8", Deposit(1))
        assert not queue
        async with site.app([part]).open(functions=False) as app:
            assert (await row(app, "account-8")).position == 2

    asyncio.run(main())


def test_a_closing_app_saves_what_waits(site):
    async def main():
        part = saving(2)
        async with site.app([part]).open(functions=False) as app:
            await app.send(part, "1", Open("ann"))
            await app.send(part, "1", Deposit(5))
        async with site.app([part]).open(functions=False) as app:
            assert (await row(app)).position == 2

    asyncio.run(main())


def test_each_tenant_has_its_own(site):
    async def main():
        part = saving(2)
        async with site.app([part]).open(functions=False) as app:
            for tenant, count in (("", 2), ("acme", 3)):
                await grow(app.link, "account-1", count, tenant)
                await app.send(part, "1", Deposit(10), tenant=tenant)
                await saved(app, count, tenant=tenant)
        async with site.app([part]).open(functions=False) as app:
            count = counting(app)
            assert await app.system.execute.state(app.system.decisions["account"], "1") == (12, 3)
            assert await app.system.execute.state(app.system.decisions["account"], "1", "acme") == (13, 4)
            assert count[0] == 4

    asyncio.run(main())


def test_what_found_the_queue_full_is_saved_with_the_next_command(site, monkeypatch):
    async def main():
        part = saving(3)
        async with site.app([part]).open(functions=False) as app:
            with monkeypatch.context() as full:
                full.setattr("foldlog.limits.SNAPSHOT_QUEUE", 0)
                await grow(app.link, "account-1", 3)
                assert await app.get(part, "1") == 3
                assert not waiting(app)
            await app.send(part, "1", Deposit(1))
            await saved(app, 4)

    asyncio.run(main())
