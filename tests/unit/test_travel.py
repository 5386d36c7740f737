"""The past: states and rows as of a position or a time are those of a log that was cut there."""

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import App, Decider, Recorded, projection
from foldlog.errors import Corrupt, Invalid, Undecodable
from foldlog.model.message import Draft, Meta, encode_meta, to_datetime
from foldlog.ports.store import Append, Batch
from foldlog.testing.kit import FakeClock
from tests.unit.bank import (
    Close,
    Closed,
    Deposit,
    Deposited,
    Open,
    Opened,
    Take,
    account,
    balances,
    decide,
    evolve,
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
    for tenant, category, key, type, amount, wait, offset in events:
        clock.advance(wait / 1e6)
        occurred = None if offset is None else clock.now() + offset * 1_000_000
        draft = Draft(type, 1, BODIES[type].format(amount).encode(), encode_meta(Meta(occurred=occurred)))
        await app.system.store.commit(Batch([Append(f"{category}-{key}", [draft], tenant=tenant)]))


async def answers(app, **at):
    """All that can be asked for, by where it was asked."""
    found = {}
    for tenant in TENANTS:
        for view in VIEWS:
            rows = await app.find(view, tenant=tenant, **at)
            found[view.name, tenant] = [(one.key, one.value) for one in rows]
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
        assert past == await answers(fresh)


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
