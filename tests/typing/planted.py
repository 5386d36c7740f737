"""Mistakes that both type checkers must refuse: an ignore that is no longer needed fails the check."""

from foldlog import Decider, projection
from foldlog.app import App
from foldlog.process import Process, Timer, saga
from foldlog.testing import given
from tests.typing import transfers
from tests.typing.hello import Deposit, Deposited, Open, Opened, account, balances, decide, evolve

app = App("memory:", [account, balances])


async def uses() -> object:
    await app.send(account, "17", Opened("Ann"))  # type: ignore[misc]  # planted: an event is no command
    await app.send(account, "17", "deposit 5")  # type: ignore[misc]  # planted: a text is no command
    await app.send(account, 17, Deposit(5))  # type: ignore[arg-type]  # planted: a key is a text
    await app.send(balances, "17", Deposit(5))  # type: ignore[arg-type]  # planted: a projection decides nothing
    text: str = await app.get(balances, "17")  # type: ignore[assignment, arg-type]  # planted: the rows are numbers
    number: int = await app.get(balances, "17")  # type: ignore[assignment]  # planted: there may be no row
    flag: str = await app.get(account, "17")  # type: ignore[arg-type]  # planted: the state is a bool
    rows: list[str] = await app.find(balances)  # type: ignore[assignment]  # planted: find answers rows with their keys
    (await app.send(account, "17", Deposit(5))).version = 7  # type: ignore[misc]  # planted: a receipt does not change
    return text, number, flag, rows


def blocking_uses() -> object:
    with app.blocking() as b:
        b.send(account, "17", Opened("Ann"))  # type: ignore[misc]  # planted: an event is no command
        number: int = b.get(balances, "17")  # type: ignore[assignment]  # planted: there may be no row
        b.send(account, "17")  # type: ignore[call-arg]  # planted: the command is missing
        return number


def values() -> None:
    Opened("Ann").owner = "Bob"  # type: ignore[misc]  # planted: an event does not change
    Open("Ann").owner = "Bob"  # type: ignore[misc]  # planted: a command does not change
    Opened()  # type: ignore[call-arg]  # planted: a field is missing
    Deposited("five")  # type: ignore[arg-type]  # planted: a field has another type
    Deposit(5, 6)  # type: ignore[call-arg]  # planted: there is no such field
    str(Deposited(5).total)  # type: ignore[attr-defined]  # planted: there is no such field


@projection("wrong")  # type: ignore[misc]  # planted: the fold takes numbers and answers a text
def wrong_row(row: int | None, event: Deposited) -> str:
    return str(event.amount)


def evolve_only_opened(is_open: bool, event: Opened) -> bool:
    return True


def evolve_to_text(is_open: bool, event: Opened | Deposited) -> str:
    return "open"


Decider("account", decide, evolve_only_opened, initial=False)  # type: ignore[misc]  # planted: evolve does not take every event
Decider("account", decide, evolve_to_text, initial=False)  # type: ignore[arg-type]  # planted: evolve answers no state
Decider("account", decide, evolve, initial="closed")  # type: ignore[arg-type]  # planted: the state is a bool


def tests() -> None:
    balances(None, Opened("Ann"))  # type: ignore[arg-type]  # planted: no event of this fold
    given(account, Open("Ann"))  # type: ignore[misc]  # planted: a command is no event
    given(account).when(Opened("Ann"))  # type: ignore[arg-type]  # planted: an event is no command
    given(account).when(Deposit(5)).then(Deposit(5))  # type: ignore[arg-type]  # planted: a command is no event
    given(balances, Opened("Ann"))  # type: ignore[arg-type]  # planted: no event of this fold
    given(balances, Deposited(5)).then("five")  # type: ignore[arg-type]  # planted: the rows are numbers


def processes() -> None:
    counts, follow = transfers.by_envelope, transfers.follow
    Process("p", transfers.answer, counts, initial=None)  # type: ignore[misc]  # planted: the state is a number
    Process("p", follow, follow, initial=None)  # type: ignore[arg-type, misc]  # planted: react answers no state
    given(transfers.transfer).when("asked")  # type: ignore[arg-type]  # planted: a text is no event
    slow = given(transfers.transfer).when(transfers.Slow())
    slow.then(transfers.Slow())  # type: ignore[arg-type]  # planted: an event is no answer
    slow.then_state(5)  # type: ignore[arg-type]  # planted: it has another state
    Timer("slow")  # type: ignore[call-arg]  # planted: a timer carries an event
    saga("s", [transfers.Slow()], on=transfers.Asked)  # type: ignore[list-item]  # planted: an event is no step
