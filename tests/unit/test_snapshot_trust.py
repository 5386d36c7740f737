"""Which snapshots are trusted, and which states are saved at all."""

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from foldlog import App, Decider, Upcast, command, event
from foldlog.errors import Corrupt, Invalid, Misconfigured, Undecodable
from foldlog.flow.snapshot import SNAPSHOTS, Known, Snapshot, Snapshots
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, Put, RowKey
from tests.unit.bank import Deposit, Open, by_name, decide_name
from tests.unit.bank import evolve_name as evolve_taken
from tests.unit.long_streams import counting, grow, row, saved, saving
from tests.unit.site import Site


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


def test_a_state_that_was_changed_by_hand_is_not_taken(site):
    async def main():
        part, key = saving(5), RowKey("", "account-1")
        async with site.app([part]).open(functions=False) as app:
            await grow(app.link, "account-1", 5)
            assert await app.get(part, "1") == 5
            await saved(app, 5)
            good = (await row(app)).value
            spoilt = good.replace(b'"state":5', b'"state":6')
            assert spoilt != good
            await app.link.commit(Batch(rows=[Put(SNAPSHOTS, key, spoilt)]))
        async with site.app([part]).open(functions=False) as app:
            assert await app.get(part, "1") == 5

    asyncio.run(main())


def test_a_state_without_its_event_is_not_saved(site, caplog):
    async def main():
        part = saving(5)
        async with site.app([part]).open(functions=False) as app:
            rule = app.system.decisions["account"].rule
            snapshots = Snapshots(app.link)
            assert snapshots.offer(rule, "account-1", "", Known(7, 3))
            await snapshots.finish()
            assert await row(app) is None

    asyncio.run(main())
    assert "account-1 has no version 3" in caplog.records[0].why


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


@dataclass(frozen=True)
class Box:
    price: Decimal
    at: datetime
    tags: frozenset[str] = frozenset()


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("type", "fine", "odd"),
    [
        (list[int], [1, 2], [1, True]),
        (dict[str, float], {"a": 1.5, "b": -0.0}, {"a": 1}),
        (tuple[Any, ...], (1, [2]), (1, frozenset([2]))),
        (set[int], {1, 2}, frozenset({1, 2})),
        (Box, Box(Decimal("1.10"), NOON, frozenset("ab")), Box(Decimal(1), NOON.astimezone(ZoneInfo("Europe/Berlin")))),
        (int, 7, True),
    ],
)
def test_only_what_comes_back_exactly_is_saved(type, fine, odd):
    def evolve(state, event: Kept):
        return state

    evolve.__annotations__["return"] = type
    (decision,) = App("memory:", [Decider("tally", keep, evolve, 0, snapshot=1)])._next.decisions.values()  # noqa: SLF001 - not open
    assert decision.rule.codec.decode(decision.rule.encode(fine)) == fine
    with pytest.raises(Invalid):
        decision.rule.encode(odd)
