"""Money from one account to another, by a process. `foldlog run examples.transfer` runs it on the file transfer.db."""

from dataclasses import dataclass, replace

from foldlog import App, Decider, Recorded, Rejected, Send, command, event
from foldlog.model.clock import Clock
from foldlog.process import Accepted, Process


@event("account.moved")
class Moved:
    amount: int


@event("account.closed")
class Closed:
    pass


@command("account.move")
class Move:
    amount: int


@command("account.give-back")
class GiveBack:
    amount: int


@command("account.close")
class Close:
    pass


@dataclass(frozen=True)
class Account:
    balance: int = 0
    closed: bool = False


def decide(command: Move | GiveBack | Close, account: Account) -> list[Moved | Closed]:
    match command:
        case Close():
            return [] if account.closed else [Closed()]
        case GiveBack(amount):
            return [Moved(amount)]  # to closed accounts, too: it is theirs
        case Move(amount) if account.closed and amount > 0:
            raise Rejected("account.closed")
        case Move(amount) if account.balance + amount < 0:
            raise Rejected("account.too-poor", data={"balance": account.balance})
        case Move(amount):
            return [Moved(amount)]


def evolve(account: Account, event: Moved | Closed) -> Account:
    if isinstance(event, Closed):
        return replace(account, closed=True)
    return replace(account, balance=account.balance + event.amount)


account = Decider("account", decide, evolve, initial=Account())


@event("transfer.asked")
class Asked:
    source: str
    target: str
    amount: int


@event("transfer.ended")
class Ended:
    why: str


@command("transfer.ask")
class Ask:
    source: str
    target: str
    amount: int


@command("transfer.end")
class End:
    why: str


def decide_order(command: Ask | End, status: str) -> list[Asked | Ended]:
    match command:
        case Ask(source, target, amount):
            return [] if status else [Asked(source, target, amount)]
        case End(why):
            return [Ended(why)]


def evolve_order(status: str, event: Asked | Ended) -> str:
    return "asked" if isinstance(event, Asked) else event.why


order = Decider("order", decide_order, evolve_order, initial="")


@dataclass(frozen=True)
class Transfer:
    source: str
    target: str
    amount: int
    at: str = "leaving"


Heard = Asked | Accepted | Rejected
NEXT: dict[tuple[type[Heard], str], str] = {
    (Accepted, "leaving"): "arriving",
    (Accepted, "arriving"): "done",
    (Accepted, "returning"): "refused",
    (Rejected, "leaving"): "refused",
    (Rejected, "arriving"): "returning",
}


def follow(transfer: Transfer | None, event: Heard) -> Transfer | None:
    if isinstance(event, Asked):
        return Transfer(event.source, event.target, event.amount)
    at = NEXT.get((type(event), transfer.at)) if transfer else None
    return replace(transfer, at=at) if transfer and at else None  # the order knows that it has ended: so may we


def answer(event: Recorded[Heard], transfer: Transfer | None) -> Send | None:
    match transfer:
        case Transfer(source, _, amount, "leaving"):
            return Send(account, source, Move(-amount))
        case Transfer(_, target, amount, "arriving"):
            return Send(account, target, Move(amount))
        case Transfer(source, _, amount, "returning"):
            return Send(account, source, GiveBack(amount), insist=True)
        case Transfer(at=why):
            return Send(order, event.key, End(why))
        case None:
            return None


transfer = Process("transfer", answer, follow, initial=None)
PARTS: list[object] = [account, order, transfer]


def open_bank(url: str, clock: Clock | None = None) -> App:
    """The bank on any store."""
    return App(url, PARTS, clock=clock)


app = open_bank("sqlite:transfer.db")

if __name__ == "__main__":
    app.run()
