"""A bank whose transfers are a process: money leaves one account, and arrives, or comes back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from foldlog import Backoff, Decider, Rejected, Send, command, event
from foldlog.process import Accepted, Cancel, Process, Schedule, Step, Timer, saga
from foldlog.testing.simulation import Seen, Simulation, Wait

ACCOUNTS = ("ann", "ben", "cid", "dan")


@event("account.moved")
class Moved:
    amount: int


@event("account.frozen")
class Frozen:
    frozen: bool


@command("account.move")
class Move:
    amount: int


@command("account.freeze")
class Freeze:
    frozen: bool


@dataclass(frozen=True)
class Account:
    balance: int = 0
    frozen: bool = False


def decide(command: Move | Freeze, account: Account) -> list[Moved | Frozen]:
    if isinstance(command, Freeze):
        return [Frozen(command.frozen)]
    if account.frozen and command.amount > 0:
        raise Rejected("account.frozen")
    if account.balance + command.amount < 0:
        raise Rejected("account.too-poor")
    return [Moved(command.amount)]


def evolve(account: Account, event: Moved | Frozen) -> Account:
    if isinstance(event, Frozen):
        return Account(account.balance, event.frozen)
    return Account(account.balance + event.amount, account.frozen)


account = Decider("account", decide, evolve, initial=Account())


@event("transfer.asked")
class Asked:
    source: str
    target: str
    amount: int


@event("transfer.overdue")
class Overdue:
    pass


@command("transfer.ask")
class Ask:
    source: str
    target: str
    amount: int


@event("bank.counted")
class Counted:
    pass


@command("bank.count")
class Count:
    pass


order = Decider("order", lambda command, _: [Asked(command.source, command.target, command.amount)], lambda _, __: 1, 0)
order.decide.__annotations__.update({"command": Ask, "return": list[Asked]})
order.evolve.__annotations__.update(__=Asked)
bank = Decider("bank", lambda command, _: [Counted()], lambda _, __: 1, 0)
bank.decide.__annotations__.update({"command": Count, "return": list[Counted]})
bank.evolve.__annotations__.update(__=Counted)


@dataclass
class Transfer:
    source: str
    target: str
    amount: int
    at: str = "leaving"


def follow(transfer: Transfer | None, event: Asked | Accepted | Rejected | Overdue) -> Transfer | None:
    match event, transfer:
        case Asked(source, target, amount), _:
            return Transfer(source, target, amount)
        case Overdue(), _:
            return transfer
        case Accepted(), Transfer(source, target, amount, "leaving"):
            return Transfer(source, target, amount, "arriving")
        case Rejected(), Transfer(source, target, amount, "arriving"):
            return Transfer(source, target, amount, "returning")
    return None


def answer(event: Asked | Accepted | Rejected | Overdue, transfer: Transfer | None) -> Sequence[Send | Timer | Cancel]:
    if transfer is None:
        return []
    if isinstance(event, Overdue):
        return [Timer("overdue", Overdue(), after=20)]  # for ever, while it lasts
    match transfer.at:
        case "leaving":
            return [Send(account, transfer.source, Move(-transfer.amount)), Timer("overdue", Overdue(), after=0.01)]
        case "arriving":
            return [Send(account, transfer.target, Move(transfer.amount)), Cancel("overdue")]
    return [Send(account, transfer.source, Move(transfer.amount), insist=True)]


transfer = Process("transfer", answer, follow, None, retry=Backoff(200, 0.05, 0.5))

by_steps = saga(
    "steps",
    [
        Step(
            do=lambda event: Send(account, event.source, Move(-event.amount)),
            undo=lambda event: Send(account, event.source, Move(event.amount)),
            timeout=0.02,
        ),
        Step(do=lambda event: Send(account, event.target, Move(event.amount))),
    ],
    on=Asked,
    retry=Backoff(200, 0.05, 0.5),
)


def watch(count: int, event: Asked) -> int:
    return count + 1


def tell(event: Asked, count: int) -> list[Send]:
    return [Send(bank, str(count), Count()), Send(bank, "all", Count())]


watched = Process("watched", tell, watch, 0, key=lambda event: [event.source, event.target, "all"])
nightly = Schedule("nightly", 30, Send(bank, "1", Count()))
PARTS = {"process": [account, order, transfer, bank, nightly, watched], "saga": [account, order, by_steps]}


def story(random: Random) -> Iterator[Send | Wait]:
    for name in ACCOUNTS:
        yield Send(account, name, Move(random.randint(5, 20)))
    for number in range(random.randint(3, 12)):
        source, target = random.sample(ACCOUNTS, 2)
        yield Send(order, str(number), Ask(source, target, random.randint(1, 15)))
        if random.random() < 0.2:
            yield Send(account, random.choice(ACCOUNTS), Freeze(random.random() < 0.7))
        if random.random() < 0.2:
            yield Wait(random.random() * 10)
    for name in ACCOUNTS:
        yield Send(account, name, Freeze(False))


def paid_in(seen: Seen[Any]) -> int:
    return sum(sent.send.command.amount for sent in seen.sent if isinstance(sent.send.command, Move) and sent.receipt)


def balances(seen: Seen[Any]) -> dict[str, int]:
    return {name: seen.state(account, name).balance for name in ACCOUNTS}


def money_is_conserved_once_settled(seen: Seen[Any]) -> None:
    """What people paid in themselves is what there is, and what waits for an operator on its way back."""
    under_way = sum(one.amount for one in seen.instances(transfer).values())
    assert sum(balances(seen).values()) + under_way == paid_in(seen)


def nobody_is_overdrawn(seen: Seen[Any]) -> None:
    assert min(balances(seen).values()) >= 0


def the_same_by_steps(seen: Seen[Any]) -> None:
    under_way = sum(one.event.amount for one in seen.instances(by_steps).values() if one is not None)
    assert sum(balances(seen).values()) + under_way == paid_in(seen)


def simulation(kind: str, **options: Any) -> Simulation[Any]:
    parts = PARTS[kind]
    conserved = money_is_conserved_once_settled if kind == "process" else the_same_by_steps
    return Simulation(lambda: parts, story, [conserved, nobody_is_overdrawn], **options)
