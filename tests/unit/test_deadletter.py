"""Dead letters: listed, shown, replayed one or by filter, discarded."""

import asyncio

import pytest

from foldlog import Backoff, Context, handler
from foldlog.errors import Invalid, NotFound
from foldlog.flow import deadletter
from tests.unit.bank import Deposit, Deposited, Open, Opened, account, balances
from tests.unit.site import until


def broken(name, broken_now, seen, **options):
    @handler(name, retry=Backoff(1), **options)
    async def fails(event: Opened | Deposited, ctx: Context) -> None:
        if broken_now:
            raise ValueError("broken")
        seen.append((ctx.recorded.key, ctx.recorded.version))

    return fails


@pytest.mark.parametrize("after_dead", ["go on", "wait"])
def test_list_show_replay_and_discard(after_dead, site):
    faults, seen = [1], []
    one = broken("one", faults, seen, after_dead=after_dead)
    two = broken("two", faults, [], after_dead=after_dead)
    every = after_dead == "go on"

    async def main():
        async with site.app([account, one, two]) as app:
            for key in "abc":
                await app.send(account, key, Open(key), correlation="c")
                await app.send(account, key, Deposit(1))
            await app.settle()
            store = app.system.store
            assert len(await app.dead_letters()) == (12 if every else 6)
            assert len(await app.dead_letters(limit=5)) == 5
            letters = await app.dead_letters(one)
            assert [letter.position for letter in letters] == ([1, 2, 3, 4, 5, 6] if every else [1, 3, 5])
            first = await deadletter.show(store, letters[0].id)
            assert first == letters[0]
            assert (first.function, first.key, first.type, first.correlation) == (
                "handler.one",
                "a",
                "account.opened",
                "c",
            )
            assert "ValueError: broken" in first.error
            assert first.failed > 0
            faults.clear()
            assert await app.replay(one, key="a", type="account.opened") == 1
            await app.settle()
            assert seen == ([("a", 1)] if every else [("a", 1), ("a", 2)])
            assert await app.discard(one, key="b") == (2 if every else 1)
            await app.settle()
            assert await app.replay(one) == (3 if every else 1)
            await app.settle()
            assert not await app.dead_letters(one)
            assert (("b", 1) in seen, ("b", 2) in seen) == (False, not every)
            assert [one_ for one_ in seen if one_[0] == "c"] == [("c", 1), ("c", 2)]
            for ask in (app.replay, app.discard):
                with pytest.raises(NotFound):
                    await ask(id=first.id)
                assert await ask(one) == 0
            with pytest.raises(NotFound):
                await deadletter.show(store, "no/such")
            for wrong in (0, -1, 10**6, "x"):
                with pytest.raises(Invalid):
                    await app.dead_letters(limit=wrong)
            with pytest.raises(NotFound):
                await app.replay(broken("one", [], []))
            with pytest.raises(Invalid):
                await app.dead_letters(balances)

    asyncio.run(main())


def test_of_two_operators_one_is_obeyed(site):
    faults, seen = [1], []
    part = broken("one", faults, seen)

    async def main():
        async with site.app([account, part]) as app:
            await app.send(account, "a", Open("a"))
            await app.settle()
        operators = [site.app([account, part]) for _ in range(2)]
        async with operators[0].open(functions=False) as one, operators[1].open(functions=False) as two:
            asked = await asyncio.gather(one.replay(part), two.replay(part))
            assert sorted(asked) == [0, 1]
        faults.clear()
        async with site.app([account, part]) as app:
            await app.settle()
            assert seen == [("a", 1)]

    asyncio.run(main())


def test_another_process_asks_and_the_owner_obeys(site, monkeypatch):
    monkeypatch.setattr("foldlog.limits.OPERATOR_POLL", 0.01)
    faults, seen = [1], []
    part = broken("one", faults, seen)

    async def main():
        owner, operator = site.app([account, part]), site.app([account, part])
        async with owner, operator.open(functions=False):
            await owner.send(account, "a", Open("a"))
            await owner.settle()
            faults.clear()
            assert await operator.replay(part) == 1
            await until(lambda: seen)
            await owner.settle()
            assert not await operator.dead_letters()

    asyncio.run(main())


def test_a_discarded_letter_is_forgotten_after_a_restart(site):
    part = broken("one", [1], [], after_dead="wait")

    async def main():
        async with site.app([account, part]) as app:
            await app.send(account, "a", Open("a"))
            await app.settle()
        async with site.app([account, part]).open(functions=False) as app:
            assert await app.discard() == 1
            assert not await app.dead_letters()
        async with site.app([account, part]) as app:
            await app.send(account, "a", Deposit(1))
            await app.settle()
            assert [letter.version for letter in await app.dead_letters()] == [2]

    asyncio.run(main())
