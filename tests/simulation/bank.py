"""A bank with transfers, to be simulated: money moves by a handler's answer, letters go to a world outside."""

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from foldlog import Backoff, Context, Decider, Recorded, Rejected, Send, command, event, handler, projection
from foldlog.testing.simulation import Seen, Simulation, Wait


@event("account.opened")
class Opened:
    owner: str


@event("account.paid-in")
class PaidIn:
    amount: int


@event("account.transferred")
class Transferred:
    to: str
    amount: int


@event("account.received")
class Received:
    amount: int


@command("account.open")
class Open:
    owner: str


@command("account.pay-in")
class PayIn:
    amount: int


@command("account.transfer")
class Transfer:
    to: str
    amount: int


@command("account.receive")
class Receive:
    amount: int


Event = Opened | PaidIn | Transferred | Received
Command = Open | PayIn | Transfer | Receive
ACCOUNTS = ("ann", "ben", "cid")


def decide(command: Command, balance: int | None) -> Sequence[Event]:
    match command:
        case Open(owner):
            return [Opened(owner)] if balance is None else []
        case Receive(amount):
            return [Received(amount)]  # money that was sent has to arrive, whether the account is open or not
        case _ if balance is None:
            raise Rejected("account.closed", "open it first")
        case PayIn(amount):
            return [PaidIn(amount)]
        case Transfer(to, amount):
            if amount > balance:
                raise Rejected("account.short", "there is not enough money", {"balance": balance})
            return [Transferred(to, amount)]


def evolve(balance: int | None, event: Event) -> int:
    match event:
        case Opened():
            return balance or 0
        case PaidIn(amount) | Received(amount):
            return (balance or 0) + amount
        case Transferred(_, amount):
            return (balance or 0) - amount


account = Decider("account", decide, evolve, initial=None)


@projection("balances")
def balances(row: int | None, event: PaidIn | Received | Transferred) -> int:
    return (row or 0) + (-event.amount if isinstance(event, Transferred) else event.amount)


@projection("owners", inline=True)
def owners(row: str | None, event: Opened) -> str:
    return event.owner


@handler("carry")
async def carry(event: Transferred) -> Send:
    return Send(account, event.to, Receive(event.amount))


class World:
    """Letters by key: what arrives twice under one key is thrown away, as a good outside does."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}
        self.arrived: Counter[str] = Counter()


def bank(world: World) -> list[object]:
    @handler("welcome", retry=Backoff(attempts=8, first=0.05, ceiling=1))
    async def welcome(event: Recorded[Opened], ctx: Context) -> None:
        world.letters[ctx.id] = event.data.owner
        world.arrived[event.key] += 1

    return [account, balances, owners, carry, welcome]


def story(random: Random) -> Iterator[Send | Wait]:
    """Three accounts, and what people do with them."""
    for name in ACCOUNTS:
        yield Send(account, name, Open(name))
    for _ in range(random.randint(3, 12)):
        name, other = random.sample(ACCOUNTS, 2)
        if random.random() < 0.4:
            yield Send(account, name, PayIn(random.randint(1, 20)))
        else:
            yield Send(account, name, Transfer(other, random.randint(1, 20)))
        if random.random() < 0.1:
            yield Wait(random.random())


def no_money_is_made(seen: Seen[Any]) -> None:
    paid_in = sum(event.amount for event in seen.of(PaidIn))
    assert sum(seen.rows(balances).values()) == paid_in


def no_account_is_overdrawn(seen: Seen[Any]) -> None:
    assert all(balance >= 0 for balance in seen.rows(balances).values())


def one_letter_each(seen: Seen[World]) -> None:
    assert sorted(seen.world.letters.values()) == sorted(event.owner for event in seen.of(Opened))


INVARIANTS = [no_money_is_made, no_account_is_overdrawn, one_letter_each]


def simulation(**options: Any) -> Simulation[World]:
    return Simulation(bank, story, INVARIANTS, world=World, **options)
