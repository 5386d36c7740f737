"""The past: states and rows as of a position or a time are those of a log that was cut there."""

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import App, Recorded, projection
from foldlog.errors import Corrupt, Invalid, Undecodable
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.ports.store import Append, Batch
from foldlog.testing.kit import FakeClock
from tests.unit.bank import (
    Closed,
    Deposit,
    Deposited,
    Open,
    Opened,
    account,
    balances,
    inline,
    names,
)

KEYS, TENANTS = ("1", "2"), ("", "acme")


@dataclass(frozen=True)
class Total:
    amount: int
    last: datetime
    steps: int


@projection("by-amount", key=lambda event: [f"{event.amount % 3}", f"{event.amount}"], indexes=("amount", "last"))
def by_amount(row: Total | None, event: Recorded[Deposited]) -> Total | None:
    amount = event.data.amount
    if amount == 7:
        return None
    if amount == 8:
        raise ValueError("an 8 cannot be folded")
    return Total((row.amount if row else 0) + amount, event.occurred, (row.steps if row else 0) + 1)


def _key_of(event: Recorded[Opened | Closed]) -> str:
    if event.type == "account.closed" and event.time % 2:
        raise LookupError("no key at odd times")
    return f"{event.category} {event.recorded.minute}"


@projection("moments", key=_key_of)
def moments(row: list[str] | None, event: Recorded[Opened | Closed]) -> list[str]:
    return [*(row or ()), f"{event.stream} {event.occurred}"]


@projection("fragile")
def fragile(row: int | None, event: Opened | Deposited) -> int:
    if isinstance(event, Deposited) and event.amount == 8:
        raise ValueError("an 8 cannot be folded")
    return (row or 0) + 1


VIEWS = (balances, inline, by_amount, moments, fragile)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(("account", "account", "account", "other")),
        st.sampled_from(KEYS),
        st.sampled_from(("account.opened", "account.deposited", "account.deposited", "account.closed", "strange")),
        st.integers(1, 9),
        st.integers(0, 90_000_000),
        st.one_of(st.none(), st.integers(-200, 200)),
    ),
    min_size=1,
    max_size=14,
)
BODIES = {
    "account.opened": '{{"owner":"{}"}}',
    "account.deposited": '{{"amount":{}}}',
    "account.closed": "{{}}",
    "strange": "{}",
}


def made_of(url):
    clock = FakeClock()
    return App(url, [account, *VIEWS], clock=clock), clock


async def fill(app, clock, events):
    """Append events one by one, each at its time."""
    for tenant, category, key, name, amount, wait, offset in events:
        clock.advance(wait / 1e6)
        occurred = None if offset is None else clock.now() + offset * 1_000_000
        draft = Draft(name, 1, BODIES[name].format(amount).encode(), encode_meta(Meta(occurred=occurred)))
        await app.system.store.commit(Batch([Append(f"{category}-{key}", [draft], tenant=tenant)]))


async def answers(app, **at):
    """All that can be asked for, by where it was asked."""
    found = {}
    for tenant in TENANTS:
        for view in VIEWS:
            rows = await app.find(view, tenant=tenant, **at)
            found[view.name, tenant] = [(one.key, one.value, one.stale) for one in rows]
            keys = {*KEYS, *(one.key for one in rows[:3])}
            found |= {(view.name, tenant, key): await app.get(view, key, tenant=tenant, **at) for key in keys}
        for index in by_amount.indexes:
            rows = await app.find(by_amount, index, backward=True, limit=2, tenant=tenant, **at)
            found[index, tenant] = [(one.key, one.value, one.row.index) for one in rows]
        found |= {("state", tenant, key): await app.get(account, key, tenant=tenant, **at) for key in KEYS}
    return found


async def cut_and_compared(url, events, where, order):
    app, clock = made_of(url)
    async with app.open(functions=False):
        await fill(app, clock, events)
        log = [one async for one in app.read()]
        place = log[where % len(log)]
        at = {"position": place.position - (where % 2), "recorded": place.recorded, "occurred": place.occurred}[order]
        by = "occurred" if order == "occurred" else "recorded"
        kept = [
            event
            for event, one in zip(events, log, strict=True)
            if (one.position if order == "position" else getattr(one, order)) <= at
        ]
        times = [one.time for one in log if (one.position if order == "position" else getattr(one, order)) <= at]
        past = await answers(app, at=at, by=by)
        assert (await app.system.store.head()) == len(log)
    fresh, clock = made_of("memory:")
    async with fresh:
        for event, time in zip(kept, times, strict=True):
            offset = None if event[6] is None else event[6]
            await fill(fresh, clock, [(*event[:5], time - clock.now(), offset)])
        await fresh.settle()
        now = await answers(fresh)
        if order == "occurred":
            # The fresh log numbers a stream's events anew, and an inline row that two streams share goes by versions.
            past, now = ({key: rows for key, rows in one.items() if key[0] != "inline"} for one in (past, now))
        assert past == now


ORDERS = st.sampled_from(("position", "recorded", "occurred"))


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.integers(0, 100), ORDERS)
def test_the_past_is_what_a_cut_log_gives_in_memory(events, where, order):
    asyncio.run(cut_and_compared("memory:", events, where, order))


@settings(max_examples=12, deadline=None)
@given(EVENTS, st.integers(0, 100), ORDERS)
def test_the_past_is_what_a_cut_log_gives_in_a_file(events, where, order):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(cut_and_compared(f"sqlite:{folder}/x.db", events, where, order))


async def bank(app, rounds=3):
    for key in KEYS:
        await app.send(account, key, Open("ann"))
        for amount in range(1, rounds + 1):
            await app.send(account, key, Deposit(amount))


def counted(app):
    """The number of events that are read from the app's store from now on, in a list of one."""
    store, count = app.system.store, [0]
    read = store.read

    async def counting(*args, **options):
        page = await read(*args, **options)
        count[0] += len(page.events)
        return page

    store.read = counting
    return count


def test_one_row_costs_the_events_of_its_stream(url):
    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            await bank(app, 50)
            count = counted(app)
            assert await app.get(balances, "2", at=102) == 51 * 25
            assert count[0] == 1 + 51
            drafts = [Draft("account.deposited", 1, b'{"amount":1000}')]
            await app.system.store.commit(Batch([Append("other-2", drafts)]))
            assert await app.get(balances, "2", at=103) == 51 * 25 + 1000
            assert await app.get(balances, "3", at=103) is None
            assert await app.get(balances, "2", tenant="acme", at=103) is None

    asyncio.run(main())


def test_categories_that_another_process_has_written_are_known(tmp_path):
    url = f"sqlite:{tmp_path}/x.db"

    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            await bank(app)
            assert await app.get(balances, "2", at=8) == 6
            async with App(url, []).open(functions=False) as other:
                drafts = [Draft("account.deposited", 1, b'{"amount":1000}')]
                await other.system.store.commit(Batch([Append("other-2", drafts)]))
            assert await app.get(balances, "2", at=9) == 1006

    asyncio.run(main())


@pytest.mark.parametrize(
    ("at", "by", "why"),
    [
        (-1, "recorded", "bad at -1: the log has positions from 0, before the first event, to 8, its last"),
        (9, "recorded", "bad at 9"),
        (2**70, "recorded", "bad at"),
        (True, "recorded", "bad at True: write a position"),
        (2.0, "recorded", "bad at 2.0"),
        ("2026-01-01", "recorded", "bad at"),
        (datetime(2026, 1, 1), "recorded", "has no time zone"),  # noqa: DTZ001 - the fault
        (datetime(2026, 1, 1), "occurred", "has no time zone"),  # noqa: DTZ001 - the fault
        (3, "occurred", "one order of positions"),
        (None, "occurred", "write at= too"),
        (3, "position", "bad by 'position'"),
    ],
)
def test_what_is_no_moment_of_the_log_is_refused(url, at, by, why):
    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            await bank(app)
            for part in (account, balances):
                with pytest.raises(Invalid, match=why):
                    await app.get(part, "1", at=at, by=by)
            with pytest.raises(Invalid, match=why):
                await app.find(balances, at=at, by=by)

    asyncio.run(main())


def test_other_input_is_checked_as_ever(url):
    async def main():
        async with App(url, [account, names, balances]).open(functions=False) as app:
            receipt = await app.send(account, "1", Open("ann"))
            with pytest.raises(Invalid, match="leave one of them out"):
                await app.get(balances, "1", at=1, after=receipt)
            with pytest.raises(Invalid, match="belongs to a command"):
                await app.get(names, "1", at=1)
            with pytest.raises(Invalid, match="not in this app's list"):
                await app.get(fragile, "1", at=1)
            for at in (None, 1):
                with pytest.raises(Invalid, match="bad row key"):
                    await app.get(balances, "", at=at)
                with pytest.raises(Invalid, match="bad tenant"):
                    await app.get(balances, "1", tenant="A", at=at)
                with pytest.raises(Invalid, match="bad tenant"):
                    await app.find(balances, tenant="A", at=at)
                with pytest.raises(Invalid, match="has no index"):
                    await app.find(balances, "owner", at=at)
                with pytest.raises(Invalid, match="bad limit"):
                    await app.find(balances, limit=0, at=at)

    asyncio.run(main())


def test_the_first_and_the_last_moment(url):
    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            assert await app.get(balances, "1", at=0) is None
            assert await app.find(balances, at=datetime.max.replace(tzinfo=UTC)) == []
            await bank(app)
            assert await app.get(account, "1", at=0) is None
            assert await app.find(balances, at=0) == []
            assert await app.find(balances, at=datetime.min.replace(tzinfo=UTC)) == []
            assert await app.get(account, "1", at=8) == 6
            for by in ("recorded", "occurred"):
                found = await app.find(balances, at=datetime.now(UTC) + timedelta(days=1), by=by)
                assert [(one.key, one.value) for one in found] == [("1", 6), ("2", 6)]

    asyncio.run(main())


def test_rows_of_the_past_are_read_on_with_the_last_one(url):
    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            await bank(app)
            first = await app.find(balances, limit=1, at=8)
            rest = await app.find(balances, after=first[-1], at=8)
            assert [one.key for one in (*first, *rest)] == ["1", "2"]

    asyncio.run(main())


def test_a_state_cannot_be_told_where_its_events_cannot(url):
    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))
            await app.system.store.commit(Batch([Append("account-1", [Draft("account.deposited", 9, b"{}")])]))
            assert await app.get(account, "1", at=1) == 0
            with pytest.raises(Undecodable, match="version 9"):
                await app.get(account, "1", at=2)
            assert await app.get(balances, "1", at=2) == 0

    asyncio.run(main())


def test_corrupt_is_not_passed_over(url, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def corrupt(event: Recorded[Opened]) -> str:
        raise Corrupt("the envelope")

    @projection("corrupt", key=corrupt)
    def view(row: int | None, event: Opened) -> int:
        return 1

    async def main():
        async with App(url, [account, view]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))
            with pytest.raises(Corrupt, match="the envelope"):
                await app.get(view, "1", at=1)
            with pytest.raises(Corrupt, match="the envelope"):
                await app.find(view, at=1)
        assert list((tmp_path / "temporary").iterdir()) == []

    asyncio.run(main())


def test_a_look_into_the_past_tells_how_far_it_is(url, monkeypatch):
    monkeypatch.setattr("foldlog.limits.FOLD_PAGE", 3)

    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            await bank(app)
            told = []
            app.system.travel.told = lambda *place: told.append(place)
            await app.find(balances, at=7)
            assert told == [(3, 7), (6, 7), (7, 7), (7, 7)]

    asyncio.run(main())


def test_events_that_come_meanwhile_do_not_count(url, monkeypatch):
    monkeypatch.setattr("foldlog.limits.FOLD_PAGE", 3)

    async def main():
        async with App(url, [account, balances]).open(functions=False) as app:
            await bank(app)
            later = datetime.now(UTC) + timedelta(days=1)
            cut = await app.system.travel.cut(later)
            await app.send(account, "1", Deposit(100))
            assert cut.head == 8
            assert not cut.takes(await anext(app.read(after=8)))

    asyncio.run(main())


def test_programs_that_are_not_async_see_the_past_too(url):
    with App(url, [account, balances]).blocking() as b:
        b.send(account, "1", Open("ann"))
        b.send(account, "1", Deposit(5))
        b.settle()
        assert (b.get(balances, "1", at=1), b.get(account, "1", at=1)) == (0, 0)
        assert [one.value for one in b.find(balances, at=2)] == [5]
