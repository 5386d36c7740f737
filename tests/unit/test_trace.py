"""The chain of causes: up to its command, down to every event, and what is still open, on both engines."""

import asyncio

import pytest

from foldlog import Backoff, Context, Decider, Query, Send, command, event, handler, limits, projection
from foldlog.errors import Invalid, NotFound, Rejected
from foldlog.flow.fork import Fork
from foldlog.flow.trace import why
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Deposit, Deposited, Open, Opened, account, balances


@command("bonus.give")
class Give:
    amount: int


@event("bonus.given")
class Given:
    amount: int


def decide(command: Give, given: int) -> list[Given]:
    if command.amount > 100:
        raise Rejected("bonus.too-high", "that is too much")
    return [Given(command.amount)] * 2


def evolve(given: int, event: Given) -> int:
    return given + event.amount


bonus = Decider("bonus", decide, evolve, initial=0)


@handler("welcome", after_dead="go on")
async def welcome(event: Opened) -> list[Send]:
    return [Send(bonus, event.owner, Give(500)), Send(bonus, event.owner, Give(5))]


@handler("pay")
async def pay(event: Given, ctx: Context) -> Send | None:
    return Send(account, ctx.recorded.key, Deposit(event.amount)) if ctx.recorded.version == 1 else None


@handler("audit", retry=Backoff(1))
async def audit(event: Deposited) -> None:
    raise ValueError("no paper left")


@handler("later", start="new")
async def later(event: Opened) -> None:
    """Does nothing."""


@projection("plain")
def plain(row: int | None, event: Given) -> int:
    return event.amount


PARTS = [account, bonus, welcome, pay, audit, balances, later]


def told(one):
    return (one.event.stream, one.event.version, one.depth, one.cause, one.function, one.number)


def states(one):
    return {(reaction.function, reaction.command): reaction.state for reaction in one.reactions}


def test_up_to_the_command_and_down_to_what_is_dead(site, clock):
    async def main():
        async with site.app(PARTS) as app:
            await app.settle()
            await app.send(account, "bob", Open("bob"), correlation="other")
            done = await app.send(account, "ann", Open("ann"), correlation='c "ü"', command_id="first")
            await app.settle()
            system = app.system
            position = done.position
            heard = []
            found = [
                await why(system.store, *address, functions=system.functions(), told=heard.append)
                for address in (("account-ann", 1), ("account-ann", 2), ("bonus-ann", 2))
            ]
            head = await system.store.head()
            assert heard[0] == head
            first, second, third = ([(told(one), one.reactions) for one in trace.events] for trace in found)
            assert first == second
            assert first == third
            assert [one.asked for one in found] == [
                (await system.store.read(Query(stream=stream), version - 1, 1)).events[0].position
                for stream, version in (("account-ann", 1), ("account-ann", 2), ("bonus-ann", 2))
            ]
            opened, given, deposited, again = found[0].events
            assert told(opened) == ("account-ann", 1, 0, None, "", 0)
            assert told(given) == ("bonus-ann", 1, 1, position, "handler.welcome", 2)
            assert told(deposited) == ("account-ann", 2, 2, given.event.position, "handler.pay", 1)
            assert told(again) == ("bonus-ann", 2, 1, position, "handler.welcome", 2)
            assert [one.waited for one in found[0].events] == [
                0,
                given.event.time - opened.event.time,
                deposited.event.time - given.event.time,
                again.event.time - opened.event.time,
            ]
            assert states(opened) == {
                ("handler.later", ""): "passed",
                ("handler.welcome", ""): "passed",
                ("handler.welcome", "bonus.give"): "dead",
                (balances.table, ""): "passed",
            }
            refused = next(one for one in opened.reactions if one.command)
            assert "bonus.too-high" in refused.error
            assert (refused.to, refused.attempts, refused.letter[-4:]) == ("bonus-ann", 1, "/001")
            assert states(deposited) == {("handler.audit", ""): "dead", (balances.table, ""): "passed"}
            (letter,) = [one.letter for one in deposited.reactions if one.letter]
            assert letter in {one.id for one in await app.dead_letters(audit)}
            assert "no paper left" in next(one.error for one in deposited.reactions if one.error)

    asyncio.run(main())


def test_what_waits_and_what_never_ran(site, clock):
    @handler("flaky", retry=Backoff(1_000_000, 3_600.0, 3_600.0))
    async def flaky(event: Opened | Deposited) -> None:
        raise ValueError("not now")

    async def main():
        app = site.app([account, flaky])
        await app.start()
        await app.send(account, "ann", Open("ann"), correlation="c")
        await app.send(account, "ann", Deposit(1), correlation="c")
        store = app.system.store
        while not any(one.state == "waiting" for one in (await why(store, "account-ann", 2)).events[1].reactions):
            await store.wait(None, 1.0)
        trace = await why(store, "account-ann", 1, functions=app.system.functions())
        assert [states(one) for one in trace.events] == [
            {("handler.flaky", ""): "retry"},
            {("handler.flaky", ""): "waiting"},
        ]
        (retry,) = trace.events[0].reactions
        assert retry.attempts >= 1
        assert retry.due > retry.failed > trace.events[0].event.time - 1
        assert "not now" in retry.error
        await app.stop()
        other = site.app([account, flaky, balances, welcome, bonus])
        await other.open_only()
        await other.system.store.commit(Batch(rows=[Fork("x", 1, 1).row()]))
        trace = await why(other.system.store, "account-ann", 2, functions=other.system.functions())
        assert [states(one) for one in trace.events] == [
            {
                ("handler.flaky", ""): "retry",
                (balances.table, ""): "never ran",
                ("handler.welcome", ""): "before the fork",
            },
            {("handler.flaky", ""): "waiting", (balances.table, ""): "never ran"},
        ]
        await other.stop()

    asyncio.run(main())


def raw(number, **said):
    return Append(f"a-{number}", [Draft("t", 1, b"{}", encode_meta(Meta(**said)))])


async def commit(app, *appends):
    for append in appends:
        await app.system.store.commit(Batch([append]))


def streams(trace):
    return [(one.event.stream, one.depth) for one in trace.events]


def test_causes_with_another_correlation_or_none_are_found_by_id(site):
    async def main():
        async with site.app([account]) as app:
            await commit(
                app,
                raw(1, id="one"),  # imported without a correlation
                raw(2, command="b", correlation="b", causation="one"),
                raw(3, command="c", correlation="b", causation="elsewhere"),
                raw(4, id="four", correlation="d"),
                raw(5, id="five", correlation="e", causation="four"),
                raw(7, command="g", correlation="g", causation="elsewhere"),
                raw(6, command="f", correlation="none of them", headers={"correlation": "b"}),
            )
            store = app.system.store
            chain = [("a-1", 0), ("a-2", 1), ("a-3", 0)]
            assert [streams(await why(store, f"a-{n}", 1)) for n in (1, 2, 3)] == [chain] * 3
            assert streams(await why(store, "a-5", 1)) == [("a-4", 0), ("a-5", 1)]
            assert streams(await why(store, "a-6", 1)) == [("a-6", 0)]

    asyncio.run(main())


def test_circles_and_doubled_ids_are_no_trap(site):
    async def main():
        async with site.app([account]) as app:
            await commit(
                app,
                raw(1, id="one", causation="two", correlation="c"),
                raw(2, id="two", causation="one", correlation="c"),
                raw(3, id="two", causation="two", correlation="c"),
                raw(4, id="four", causation="four", correlation="c"),
            )
            trace = await why(app.system.store, "a-2", 1)
            assert streams(trace) == [("a-1", 0), ("a-2", 1), ("a-3", 2), ("a-4", 0)]

    asyncio.run(main())


def test_tenants_have_chains_of_their_own(site):
    async def main():
        async with site.app([account, bonus, welcome, pay]) as app:
            for tenant in ("", "acme"):
                await app.send(account, "ann", Open("ann"), correlation="c", tenant=tenant)
            await app.settle()
            store = app.system.store
            for tenant in ("", "acme"):
                trace = await why(store, "account-ann", 1, tenant, app.system.functions())
                assert {one.event.tenant for one in trace.events} == {tenant}
                assert [one.depth for one in trace.events] == [0, 1, 2, 1]
                assert {one.function for one in trace.events} == {"", "handler.welcome", "handler.pay"}
            with pytest.raises(NotFound, match="no such stream for tenant 'other'"):
                await why(store, "account-ann", 1, "other")

    asyncio.run(main())


def test_what_is_not_there_and_what_is_too_much(site, monkeypatch):
    async def main():
        async with site.app([account]) as app:
            await app.send(account, "ann", Open("ann"), correlation="c")
            for _ in range(4):
                await app.send(account, "ann", Deposit(1), correlation="c")
            store = app.system.store
            with pytest.raises(NotFound, match="the stream ends at version 5"):
                await why(store, "account-ann", 6)
            with pytest.raises(NotFound, match="no such stream"):
                await why(store, "account-none", 1)
            with pytest.raises(Invalid):
                await why(store, "no stream", 1)
            assert not (await why(store, "account-ann", 5)).cut
            monkeypatch.setattr(limits, "TRACE", 3)
            trace = await why(store, "account-ann", 5)
            assert trace.cut
            assert [one.event.version for one in trace.events] == [1, 2, 5]

    asyncio.run(main())
