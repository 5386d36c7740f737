from collections import Counter
from random import Random

from examples.transfer import (
    PARTS,
    Account,
    Ask,
    Asked,
    Close,
    End,
    GiveBack,
    Move,
    Transfer,
    account,
    open_bank,
    order,
    transfer,
)
from foldlog import Rejected, Send
from foldlog.process import Accepted
from foldlog.testing import FakeClock, given
from foldlog.testing.simulation import Simulation

ASKED = Asked("a", "b", 5)


def test_each_step_of_the_process():
    given(transfer).when(ASKED).then(Send(account, "a", Move(-5)))
    given(transfer, ASKED).when(Accepted(Move(-5))).then(Send(account, "b", Move(5)))
    given(transfer, ASKED).when(Rejected("account.too-poor", command=Move(-5))).then(Send(order, "1", End("refused")))
    back = [ASKED, Accepted(Move(-5)), Rejected("account.closed", command=Move(5))]
    given(transfer, *back[:2]).when(back[2]).then(Send(account, "a", GiveBack(5), insist=True))
    given(transfer, *back).when(Accepted(GiveBack(5))).then(Send(order, "1", End("refused")))
    given(transfer, *back).when(Accepted(GiveBack(5))).then_state(Transfer("a", "b", 5, "refused"))
    given(transfer, *back, Accepted(GiveBack(5))).when(Accepted(End("refused"))).then_state(None)


def test_money_is_conserved_whatever_happens(url, run):
    async def main():
        chance = Random(3)
        async with open_bank(url, FakeClock()) as app:
            for name in "abcd":
                await app.send(account, name, Move(20))
            await app.send(account, "d", Close())
            for number in range(60):
                source, target = chance.sample("abcd", 2)
                await app.send(order, str(number), Ask(source, target, chance.randint(1, 15)))
            await app.settle()
            states = [await app.get(account, name) for name in "abcd"]
            assert sum(one.balance for one in states) == 80
            assert min(one.balance for one in states) >= 0
            ends = Counter([await app.get(order, str(number)) for number in range(60)])
            assert set(ends) == {"done", "refused"}
            assert await app.get(account, "d") == Account(20 - _left(await _moves(app)), closed=True)

    run(main())


async def _moves(app):
    return [one.data.amount async for one in app.read("account-d") if one.type == "account.moved"]


def _left(moves):
    return 20 - sum(moves)


def test_the_bank_holds_in_a_simulation():
    def story(random):
        for name in "abc":
            yield Send(account, name, Move(10))
        for number in range(random.randint(1, 6)):
            source, target = random.sample("abc", 2)
            yield Send(order, str(number), Ask(source, target, random.randint(1, 12)))

    def conserved(seen):
        paid = sum(one.send.command.amount for one in seen.sent if isinstance(one.send.command, Move) and one.receipt)
        assert sum(seen.state(account, name).balance for name in "abc") == paid

    Simulation(PARTS, story, [conserved]).check(10)
