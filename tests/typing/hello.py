"""The design's hello world as printed, and what a type checker knows of its use."""

# The design prints an import too many, and a match that leaves the refusal to the line below it:
# pyright: reportUnusedImport=false, reportMatchNotExhaustive=false
# ruff: noqa: E701, F401, I001, T201 - the program stands here as it stands in the design
# fmt: off
from dataclasses import dataclass
from foldlog import App, Context, Decider, Rejected, command, event, handler, projection

@event("account.opened")
class Opened:
    owner: str

@event("account.deposited")
class Deposited:
    amount: int

@command("account.open")
class Open:
    owner: str

@command("account.deposit")
class Deposit:
    amount: int

def decide(command: Open | Deposit, is_open: bool) -> list[Opened | Deposited]:
    match command:
        case Open(owner): return [] if is_open else [Opened(owner)]
        case Deposit(amount) if is_open and amount > 0: return [Deposited(amount)]
    raise Rejected("account.not-possible", f"cannot {command} now")

def evolve(is_open: bool, event: Opened | Deposited) -> bool:
    return True  # once opened, an account stays open

@projection("balances")
def balances(row: int | None, event: Deposited) -> int:
    return (row or 0) + event.amount

@handler("greet")
async def greet(event: Opened, ctx: Context) -> None:
    print(f"welcome, {event.owner}")

account = Decider("account", decide, evolve, initial=False)
app = App("sqlite:bank.db", parts=[account, balances, greet])

if __name__ == "__main__":
    app.run()  # the functions: projections and handlers

# fmt: on

from typing import Any, assert_type  # noqa: E402 - below the program as printed

from foldlog import Receipt, Recorded  # noqa: E402 - as above
from foldlog import Found  # noqa: E402 - as above
from foldlog.testing import given  # noqa: E402 - as above


@projection("depositors")
def depositors(row: dict[str, int] | None, event: Recorded[Deposited]) -> dict[str, int]:
    return {event.key: (row or {}).get(event.key, 0) + event.data.amount}


async def uses() -> None:
    async with app:
        receipt = await app.send(account, "17", Deposit(5))
        assert_type(receipt, Receipt)
        assert_type(await app.get(balances, "17", after=receipt), int | None)
        assert_type(await app.get(account, "17"), bool)
        assert_type(await app.find(balances, limit=5), list[Found[int]])
        async for recorded in app.read("account-17"):
            assert_type(recorded, Recorded[Any])
        await app.settle()


def blocking_uses() -> None:
    with app.blocking() as b:
        assert_type(b.send(account, "17", Open("Ann")), Receipt)
        assert_type(b.get(balances, "17"), int | None)
        assert_type(b.get(account, "17"), bool)
        for recorded in b.read():
            assert_type(recorded, Recorded[Any])


def tests() -> None:
    given(account, Opened("Ann")).when(Deposit(5)).then(Deposited(5))
    given(account).when(Deposit(5)).then_rejected("account.not-possible")
    given(balances, Deposited(5), Deposited(7)).then(12)
    given(greet).when(Opened("Ann")).then_nothing()
    given(depositors, Deposited(5)).when(Deposited(7)).then({"1": 12})
    assert_type(Opened("Ann").owner, str)
