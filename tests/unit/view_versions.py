"""Versions of the view of balances, and a log for them."""

from dataclasses import dataclass

from foldlog import projection
from tests.unit.bank import Closed, Deposit, Deposited, Open, Opened, account, balances, evolve


def twice(row: int | None, event: Opened | Deposited | Closed) -> int | None:
    before = None if row is None else row // 2
    after = evolve(before, event)
    return None if after is None else 2 * after


@dataclass(frozen=True)
class Account:
    balance: int


def wide(row: Account | None, event: Opened | Deposited | Closed) -> Account | None:
    after = evolve(row.balance if row else None, event)
    return None if after is None else Account(after)


doubled = projection("balances", version=2)(twice)
manual = projection("balances", version=2, switch="manual")(twice)
other = projection("balances", version=2)(wide)
indexed = projection("balances", version=2, indexes=("balance",))(wide)


async def fill(app, count=3, deposits=2):
    for number in range(count):
        await app.send(account, str(number), Open("ann"))
        for _ in range(deposits):
            await app.send(account, str(number), Deposit(5))


async def filled(site, *parts, count=3):
    """A log whose first version is built; nothing runs any more."""
    async with site.app([account, balances, *parts]) as app:
        await fill(app, count)
        await app.settle()


async def all_rows(app, part):
    return {found.key: found.value for found in await app.find(part)}
