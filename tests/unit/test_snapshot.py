"""Snapshots: the same answers with and without them, and the work of the last events only."""

import asyncio
import logging
from collections import defaultdict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import App, Decider, Rejected, Unavailable, Upcast, command, event
from foldlog.errors import Corrupt, Misconfigured, Undecodable
from foldlog.flow.snapshot import SNAPSHOTS, Snapshot
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, Put, Range, RowKey
from foldlog.testing.kit import FakeClock
from tests.unit.bank import Close, Closed, Deposit, Deposited, Open, Opened, by_name, decide, decide_name, evolve
from tests.unit.bank import evolve_name as evolve_taken
from tests.unit.site import Site, kill, quiet, until


def saving(every, fold=evolve):
    return Decider("account", decide, fold, initial=None, snapshot=every)


def doubled(balance: int | None, event: Opened | Deposited | Closed) -> int | None:
    match event:
        case Opened():
            return 0
        case Deposited(amount):
            return (balance or 0) + 2 * amount
    return None


def counting(app):
    """The number of events that the app reads from now on, in a list of one."""
    read, count = app.link.inner.read, [0]

    async def counted(*args, **options):
        page = await read(*args, **options)
        count[0] += len(page.events)
        return page

    app.link.read = counted
    return count


async def grow(store, stream, count, tenant=""):
    """Deposits of 1 that came into the log past the senders."""
    for begin in range(0, count, 10_000):
        drafts = [Draft("account.deposited", 1, b'{"amount":1}')] * min(10_000, count - begin)
        await store.commit(Batch([Append(stream, drafts, tenant=tenant)]))


def waiting(app):
    """The states that wait to be saved."""
    return app.system.execute._states._snapshots._waiting  # noqa: SLF001 - the test looks into the saver


async def row(app, stream="account-1", tenant=""):
    key = RowKey(tenant, stream)
    return (await app.link.inner.get(SNAPSHOTS, [key])).get(key)


async def saved(app, version, stream="account-1", tenant=""):
    """Wait until the stream's snapshot stands at a version."""
    while (found := await row(app, stream, tenant)) is None or found.position < version:  # noqa: ASYNC110 - a turn each
        await asyncio.sleep(0)


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


def refuse_snapshots(link, batch):
    if any(one.table is SNAPSHOTS for one in batch.rows):
        raise Unavailable("not now")


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


def forged(value: bytes, key: RowKey, **changes: Any) -> bytes:
    """A snapshot with other contents and a seal that fits them."""
    made = msgspec.structs.replace(msgspec.json.decode(value, type=Snapshot), **changes)
    return msgspec.json.encode(msgspec.structs.replace(made, seal=made.sealed(key)))


@pytest.mark.parametrize(
    "change",
    [
        {"state": msgspec.Raw(b"777"), "last": "0" * 32},
        {"state": msgspec.Raw(b"777"), "last": "", "version": 99},
        {"state": msgspec.Raw(b"777"), "version": 0},
        {"state": msgspec.Raw(b"777"), "version": -5},
        {"state": msgspec.Raw(b"777"), "version": 2**63},
        {"state": msgspec.Raw(b"777"), "fold": "0" * 32},
        {"state": msgspec.Raw(b"777"), "log": "another"},
        {"state": msgspec.Raw(b"777"), "epoch": 2},
        {"state": msgspec.Raw(b'"no number"')},
    ],
)
def test_what_does_not_fit_is_passed_over_and_written_anew(site, change):
    async def main():
        part, key = saving(5), RowKey("", "account-1")
        async with site.app([part]).open(functions=False) as app:
            await grow(app.link, "account-1", 5)
            assert await app.get(part, "1") == 5
            await saved(app, 5)
            good = (await row(app)).value
            await app.link.commit(Batch(rows=[Put(SNAPSHOTS, key, forged(good, key, **change))]))
        async with site.app([part]).open(functions=False) as app:
            assert await app.get(part, "1") == 5
        async with site.app([part]).open(functions=False) as app:
            assert (await row(app)).value == good
            count = counting(app)
            assert await app.get(part, "1") == 5
            assert count[0] == 1

    asyncio.run(main())


def test_a_restored_log_that_went_on_otherwise_is_another_stream(clock):
    async def main():
        part, key = saving(2), RowKey("", "account-1")
        site = Site("memory:", clock)
        async with site.app([part]).open(functions=False) as app:
            await grow(app.link, "account-1", 2)
            assert await app.get(part, "1") == 2
            await saved(app, 2)
            kept = (await row(app)).value
            identity = app.link.identity
        site = Site("memory:", clock)
        async with site.app([part]).open(functions=False) as app:
            app.link.inner.identity = identity
            drafts = [Draft("account.deposited", 1, b'{"amount":%d}' % amount) for amount in (1, 8)]
            await app.link.commit(Batch([Append("account-1", drafts)], [Put(SNAPSHOTS, key, kept)]))
            assert await app.get(part, "1") == 9

    asyncio.run(main())


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


def test_corrupt_is_never_hidden(site):
    async def main():
        part = saving(2)
        async with site.app([part]).open(functions=False) as app:
            await grow(app.link, "account-1", 4)
            assert await app.get(part, "1") == 4
            await saved(app, 4)
        for method in ("get", "read"):
            async with site.app([part]).open(functions=False) as app:

                async def broken(*_args, **_options):
                    raise Corrupt("page 7")

                setattr(app.link, method, broken)
                with pytest.raises(Corrupt, match="page 7"):
                    await app.get(part, "1")
        async with site.app([part]).open(functions=False) as app:
            await app.link.commit(Batch([Append("account-1", [Draft("account.deposited", 9, b"{}")])]))
            with pytest.raises(Undecodable, match="version 9"):
                await app.get(part, "1")

    asyncio.run(main())


@event("tally.kept")
class Kept:
    amount: int


@command("tally.keep")
class Keep:
    amount: int


def keep(command: Keep, state: int) -> list[Kept]:
    return [Kept(command.amount)]


def sum_up(state: int, event: Kept) -> int:
    return state + event.amount


@event("tally.newer", version=2)
class Newer:
    amount: int


def keep_newer(command: Keep, state: int) -> list[Newer]:
    return [Newer(command.amount)]


def sum_newer(state: int, event: Newer) -> int:
    return state + event.amount


def test_another_upcast_is_another_fold(site):
    async def main():
        for factor in (2, 3, 2):
            part = Decider("tally", keep_newer, sum_newer, 0, snapshot=1)
            parts = [part, Upcast("tally.newer", 1, lambda old, by=factor: {"amount": old["amount"] * by})]
            async with site.app(parts).open(functions=False) as app:
                if not seen:
                    await app.link.commit(Batch([Append("tally-1", [Draft("tally.newer", 1, b'{"amount":2}')])]))
                found = await row(app, "tally-1")
                seen.append(app.system.decisions["tally"].rule.fold)
                assert found is None or msgspec.json.decode(found.value, type=Snapshot).fold == seen[-2] != seen[-1]
                # In memory the store outlives the app, and decodes as the first one did.
                assert await app.get(part, "1") == (2 * factor if site.url != "memory:" else 4)
        assert seen[0] == seen[2]

    seen = []
    asyncio.run(main())


def test_a_state_that_would_come_back_otherwise_is_not_saved(site, caplog):
    def evolve(state: dict[str, list[int]], event: Kept) -> dict[str, list[int]]:
        new = defaultdict(list, state)
        new["all"] = [*new["all"], event.amount]
        return new

    def decide_by_it(command: Keep, state: dict[str, list[int]]) -> list[Kept]:
        return [Kept(command.amount + len(state["all"]))]

    async def main():
        part = Decider("tally", decide_by_it, evolve, defaultdict(list), snapshot=1)
        for _ in range(3):
            async with site.app([part]).open(functions=False) as app:
                await app.send(part, "1", Keep(1))
                await app.send(part, "1", Keep(1))
                assert await row(app, "tally-1") is None
        async with site.app([part]).open(functions=False) as app:
            assert await app.get(part, "1") == {"all": [1, 2, 3, 4, 5, 6]}

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert caplog.text.count("states are not saved") == 4


def test_a_fold_without_fingerprint_saves_nothing(site, caplog, monkeypatch):
    monkeypatch.setattr("foldlog.limits.FINGERPRINT", 3)

    async def main():
        part = saving(1)
        async with site.app([part]).open(functions=False) as app:
            await app.send(part, "1", Open("ann"))
            await app.send(part, "1", Deposit(2))
            assert await app.get(part, "1") == 2
            assert await row(app) is None

    asyncio.run(main())
    assert caplog.text.count("states are not saved") == 1


class Odd:
    pass


def without(state, event: Kept):
    return state


def odd(state: Odd, event: Kept) -> Odd:
    return state


def anything(state: Any, event: Kept) -> Any:
    return state


def by_argument(state: int, event: Kept):
    return state + event.amount


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"evolve": without}, "annotate what evolve returns"),
        ({"evolve": anything}, "annotate what evolve returns"),
        ({"evolve": odd}, "it holds a Odd.*With snapshot= a state holds what an event may hold"),
    ],
)
def test_a_state_that_cannot_be_saved_is_misconfigured(options, why):
    with pytest.raises(Misconfigured, match=why):
        App("memory:", [Decider("tally", keep, options["evolve"], 0, snapshot=1)])
    App("memory:", [Decider("tally", keep, options["evolve"], 0)])
    App("memory:", [Decider("tally", keep, by_argument, 0, snapshot=1)])


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "100"])
def test_a_rule_is_a_number_from_1(number):
    with pytest.raises(Misconfigured, match="from 1"):
        Decider("tally", keep, sum_up, 0, snapshot=number)


def test_a_scope_has_no_snapshot():
    with pytest.raises(Misconfigured, match="belongs to a command"):
        Decider("name", decide_name, evolve_taken, False, scope=by_name, snapshot=10)
