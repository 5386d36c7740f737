"""Commands: decided on the state as it is, committed once, answered the same way again."""

import asyncio

import pytest

from foldlog import App, Conflict, Context, Decider, Rejected, Send, command, event
from foldlog.errors import Invalid, Undecodable
from foldlog.flow.execute import Origin
from foldlog.model.message import Draft
from foldlog.model.principal import Principal
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Close, Deposit, Deposited, Open, Opened, Take, account, evolve, names
from tests.unit.site import Site


def test_a_command_is_decided_and_its_events_are_stored(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            first = await app.send(account, "1", Open("ann"))
            second = await app.send(account, "1", Deposit(5))
            assert first.events == (Opened("ann"),)
            assert (second.stream, second.version, second.position) == ("account-1", 2, 2)
            assert await app.get(account, "1") == 5
            assert [event.data async for event in app.read("account-1")] == [Opened("ann"), Deposited(5)]

    asyncio.run(main())


def test_a_refusal_and_an_empty_answer_store_nothing(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            with pytest.raises(Rejected) as caught:
                await app.send(account, "1", Deposit(5))
            assert caught.value.code == "account.not-possible"
            assert caught.value.data == {"balance": None}
            await app.send(account, "1", Open("ann"))
            again = await app.send(account, "1", Open("bob"))
            assert (again.events, again.version, again.position) == ((), 1, None)
            assert len([event async for event in app.read()]) == 1

    asyncio.run(main())


def test_another_writer_is_seen_by_refusals_and_empty_answers(site):
    async def main():
        mine, other = site.app([account]), site.app([account])
        async with mine.open(functions=False), other.open(functions=False):
            await mine.send(account, "1", Open("ann"))
            await other.send(account, "1", Close())
            # The cached state still says "open", on which the answer would be [].
            assert (await mine.send(account, "1", Open("bob"))).events == (Opened("bob"),)
            await other.send(account, "1", Close())
            with pytest.raises(Rejected):
                await mine.send(account, "1", Deposit(1))
            await other.send(account, "1", Open("cid"))
            # The cached state says "closed", on which it would be refused.
            assert (await mine.send(account, "1", Deposit(1))).version == 6
            assert await other.get(account, "1") == 1

    asyncio.run(main())


def test_lost_races_are_decided_anew_and_none_is_lost(site):
    async def main():
        apps = [site.app([account]) for _ in range(3)]
        for app in apps:
            await app.open_only()
        await apps[0].send(account, "1", Open("ann"))
        await asyncio.gather(*(app.send(account, "1", Deposit(1)) for app in apps for _ in range(2)))
        assert await apps[0].get(account, "1") == 6
        for app in apps:
            await app.stop()

    asyncio.run(main())


def test_the_conflict_goes_to_the_caller_after_the_last_attempt(clock, monkeypatch):
    monkeypatch.setattr("foldlog.limits.COMMAND_ATTEMPTS", 3)
    monkeypatch.setattr("foldlog.limits.CONFLICT_JITTER", 0.0)

    async def main():
        app = Site(clock=clock).app([account])
        tried = []

        def refuse(link, batch):
            tried.append(batch)
            raise Conflict("account-1", 0, 1)

        app.link.before = refuse
        async with app.open(functions=False):
            with pytest.raises(Conflict):
                await app.send(account, "1", Open("ann"))
        assert len(tried) == 3

    asyncio.run(main())


def test_tenants_never_mix(site):
    async def main():
        async with site.app([account, names]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"), tenant="a")
            with pytest.raises(Rejected):
                await app.send(account, "1", Deposit(1), tenant="b")
            assert [await app.get(account, "1", tenant=tenant) for tenant in ("", "a", "b")] == [None, 0, None]
            await app.send(names, "1", Take("x"), tenant="a")
            await app.send(names, "1", Take("x"), tenant="b")
            with pytest.raises(Invalid):
                await app.send(account, "1", Open("ann"), tenant="A B")

    asyncio.run(main())


@command("ask.who")
class Who:
    pass


@event("ask.answered")
class Answered:
    who: str
    when: str
    correlation: str
    tenant: str


def _answer(command: Who, state: int, ctx: Context) -> list[Answered]:
    return [Answered(ctx.principal.actor, ctx.now.isoformat(), ctx.correlation, ctx.tenant)]


def _count(state: int, event: Answered) -> int:
    return state + 1


def test_decide_may_ask_for_its_surroundings(site):
    ask = Decider("ask", _answer, _count, initial=0)

    async def main():
        async with site.app([ask]).open(functions=False) as app:
            done = await app.send(ask, "1", Who(), principal=Principal("ann"), correlation="c", tenant="t")
            assert done.events == (Answered("ann", "2026-01-01T00:00:00+00:00", "c", "t"),)

    asyncio.run(main())


def test_the_envelope_says_where_the_event_comes_from(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            await app.send(
                account,
                "1",
                Open("ann"),
                command_id="a",
                principal=Principal("bob"),
                correlation="c",
                traceparent="00-1",
                headers={"x": [1, None]},
            )
            await app.send(account, "2", Open("ann"))
            one, two = [event async for event in app.read()]
            assert (one.meta.command, one.meta.actor, one.meta.correlation) == ("a", "bob", "c")
            assert (one.meta.traceparent, one.headers, one.tags) == ("00-1", {"x": [1, None]}, ("owner:ann",))
            assert two.meta.correlation == two.meta.command != ""
            assert one.id != two.id
            follows = Origin(correlation="c", causation=one.id)
            await app.system.execute.send(Send(account, "3", Open("cid")), follows)
            third = [event async for event in app.read()][2]
            assert (third.meta.causation, third.meta.correlation) == (one.id, "c")

    asyncio.run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"x": object()}},
        {"headers": {"x": float("nan")}},
        {"headers": {"x": (1, 2)}},
        {"headers": {"x": "\ud800"}},
        {"correlation": 5},
        {"correlation": "\udc80"},
        {"traceparent": b"x"},
        {"principal": Principal(7)},
        {"command_id": "a\nb"},
        {"command_id": "x" * 300},
        {"command_id": 5},
        {"tenant": "no tenant"},
    ],
)
def test_an_envelope_that_cannot_be_read_again_is_invalid(options, site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            with pytest.raises(Invalid):
                await app.send(account, "1", Open("ann"), **options)
            assert not [event async for event in app.read()]

    asyncio.run(main())


@pytest.mark.parametrize("command", [Open(5), Deposit("5"), Open("\ud800"), "open", Take("a"), None])
def test_a_command_that_does_not_fit_is_invalid_and_nothing_is_stored(command, site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            with pytest.raises(Invalid):
                await app.send(account, "1", command)
            assert not [event async for event in app.read()]

    asyncio.run(main())


@pytest.mark.parametrize("key", ["", "a\nb", "x" * 257, "\ud800", 5, None, ["1"]])
def test_a_bad_key_is_invalid(key):
    async def main():
        async with App("memory:", [account]).open(functions=False) as app:
            with pytest.raises(Invalid):
                await app.send(account, key, Open("ann"))
            with pytest.raises(Invalid):
                await app.get(account, "a\nb")

    asyncio.run(main())


def test_an_unknown_decider_is_invalid():
    async def main():
        async with App("memory:", [account]).open(functions=False) as app:
            with pytest.raises(Invalid, match="unknown decider 'name'; known: account"):
                await app.send(names, "1", Take("a"))

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [None, Opened("ann"), (event for event in ()), "ab", [Open("ann")], [Opened(5)], [Opened("ann"), 7], {"a": 1}],
)
def test_an_answer_of_decide_that_is_no_list_of_events_is_invalid(answer):
    def decide(command: Open, state: int | None) -> list[Opened]:
        return answer

    wrong = Decider("account", decide, evolve, initial=None)

    async def main():
        async with App("memory:", [wrong]).open(functions=False) as app:
            with pytest.raises(Invalid):
                await app.send(wrong, "1", Open("ann"))
            assert not [event async for event in app.read()]

    asyncio.run(main())


def test_an_event_that_evolve_cannot_take_is_never_stored(site):
    def picky(state: int | None, event: Opened | Deposited) -> int | None:
        if event == Deposited(13):
            raise ZeroDivisionError
        return 0

    def decide(command: Open | Deposit, state: int | None) -> list[Opened | Deposited]:
        return [Opened("x")] if isinstance(command, Open) else [Deposited(command.amount)]

    part = Decider("account", decide, picky, initial=None)

    async def main():
        async with site.app([part]).open(functions=False) as app:
            await app.send(part, "1", Open("x"))
            with pytest.raises(ZeroDivisionError):
                await app.send(part, "1", Deposit(13))
            assert (await app.send(part, "1", Deposit(1))).version == 2

    asyncio.run(main())


def test_events_that_decide_makes_and_evolve_does_not_take_are_passed_over(site):
    def decide(command: Open, state: int) -> list[Opened | Deposited]:
        return [Opened(command.owner), Deposited(state)]

    def count(state: int, event: Opened) -> int:
        assert isinstance(event, Opened)
        return state + 1

    part = Decider("account", decide, count, initial=0)

    async def main():
        async with site.app([part]).open(functions=False) as app:
            await app.send(part, "1", Open("a"))
            assert (await app.send(part, "1", Open("a"))).events[1] == Deposited(1)
        async with site.app([part]).open(functions=False) as app:
            assert await app.get(part, "1") == 2

    asyncio.run(main())


def test_foreign_events_do_not_stop_a_decider_and_changed_ones_do(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))
            foreign = Append("account-1", [Draft("account.praised", 3, b"[]")], 1)
            await app.system.store.commit(Batch([foreign]))
            assert (await app.send(account, "1", Deposit(5))).version == 3
            assert await app.get(account, "1") == 5
            await app.system.store.commit(
                Batch([Append("account-1", [Draft("account.deposited", 1, b'{"amount":"x"}')])])
            )
            with pytest.raises(Undecodable, match="account-1@4"):
                await app.send(account, "1", Deposit(5))

    asyncio.run(main())


def test_the_cache_of_states_is_bounded_and_right(monkeypatch, site):
    monkeypatch.setattr("foldlog.limits.STATE_CACHE", 2)

    async def main():
        async with site.app([account]).open(functions=False) as app:
            for round_ in range(3):
                for key in "abcd":
                    await app.send(account, key, Open("ann") if not round_ else Deposit(1))
            assert [await app.get(account, key) for key in "abcd"] == [2, 2, 2, 2]
            assert len(app.system.execute._states) <= 2  # noqa: SLF001 - a bound shows nowhere else

    asyncio.run(main())


def test_a_long_stream_is_loaded_page_by_page(monkeypatch, site):
    monkeypatch.setattr("foldlog.limits.PAGE_MAX", 3)

    async def main():
        async with site.app([account, names]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"))
            for _ in range(7):
                await app.send(account, "1", Deposit(1))
        async with site.app([account]).open(functions=False) as app:
            assert await app.get(account, "1") == 7

    asyncio.run(main())
