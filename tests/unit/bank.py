"""The small domain of the flow's tests: accounts, opened, filled, emptied and closed."""

from foldlog import Decider, Query, Rejected, command, event, projection


@event("account.opened", tags=("owner",))
class Opened:
    owner: str


@event("account.deposited")
class Deposited:
    amount: int


@event("account.closed")
class Closed:
    pass


@command("account.open")
class Open:
    owner: str


@command("account.deposit")
class Deposit:
    amount: int


@command("account.close")
class Close:
    pass


def decide(command: Open | Deposit | Close, balance: int | None) -> list[Opened | Deposited | Closed]:
    match command:
        case Open(owner):
            return [] if balance is not None else [Opened(owner)]
        case Deposit(amount) if balance is not None and amount > 0:
            return [Deposited(amount)]
        case Close() if balance is not None:
            return [Closed()]
    raise Rejected("account.not-possible", f"cannot {command} now", {"balance": balance})


def evolve(balance: int | None, event: Opened | Deposited | Closed) -> int | None:
    match event:
        case Opened():
            return 0
        case Deposited(amount):
            return (balance or 0) + amount
    return None


account = Decider("account", decide, evolve, initial=None)


def fold(row: int | None, event: Opened | Deposited | Closed) -> int | None:
    return evolve(row, event)


balances = projection("balances")(fold)
inline = projection("inline", inline=True)(fold)


@event("name.taken", tags=("name",))
class Taken:
    name: str


@command("name.take")
class Take:
    name: str


def decide_name(command: Take, taken: bool) -> list[Taken]:
    if taken:
        raise Rejected("name.taken", f"{command.name} is taken")
    return [Taken(command.name)]


def evolve_name(taken: bool, event: Taken) -> bool:
    return True


def by_name(command: Take) -> Query:
    return Query(tags=(f"name:{command.name}",), types=("name.taken",))


names = Decider("name", decide_name, evolve_name, initial=False, scope=by_name)
