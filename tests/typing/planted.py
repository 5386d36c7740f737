"""Mistakes that both type checkers must refuse: an ignore that is no longer needed fails the check."""

from foldlog import Decider, projection
from foldlog.app import App
from foldlog.testing import given
from tests.typing.hello import Deposit, Deposited, Open, Opened, account, balances, decide, evolve

app = App("memory:", [account, balances])


async def uses() -> None:
    await app.send(account, "17", Opened("Ann"))
    await app.send(account, "17", "deposit 5")
    await app.send(account, 17, Deposit(5))
    await app.send(balances, "17", Deposit(5))
    text: str = await app.get(balances, "17")
    number: int = await app.get(balances, "17")
    flag: str = await app.get(account, "17")
    rows: list[str] = await app.find(balances)
    print(text, number, flag, rows)
    (await app.send(account, "17", Deposit(5))).version = 7


def blocking_uses() -> None:
    with app.blocking() as b:
        b.send(account, "17", Opened("Ann"))
        number: int = b.get(balances, "17")
        b.send(account, "17")
        print(number)


def values() -> None:
    Opened("Ann").owner = "Bob"
    Open("Ann").owner = "Bob"
    Opened()
    Deposited("five")
    Deposit(5, 6)
    Deposited(5).total


@projection("wrong")
def wrong_row(row: int | None, event: Deposited) -> str:
    return str(event.amount)


def evolve_only_opened(is_open: bool, event: Opened) -> bool:
    return True


def evolve_to_text(is_open: bool, event: Opened | Deposited) -> str:
    return "open"


Decider("account", decide, evolve_only_opened, initial=False)
Decider("account", decide, evolve_to_text, initial=False)
Decider("account", decide, evolve, initial="closed")


def tests() -> None:
    balances(None, Opened("Ann"))
    given(account, Open("Ann"))
    given(account).when(Opened("Ann"))
    given(account).when(Deposit(5)).then(Deposit(5))
    given(balances, Opened("Ann"))
    given(balances, Deposited(5)).then("five")
