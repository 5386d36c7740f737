"""How many statements it takes from an append to its row, folded by another process, being read: counted by the server.

What is done now and then, by the clock, is allowed for by the second, so that a busy machine fails nothing.
"""

import asyncio
import re
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from foldlog import App
from foldlog.engines.postgres.address import parse
from tests.unit.bank import Deposit, Open, account, balances

SORTS = {
    "call": "pg_notify",
    "commit": "WITH w AS",
    "new events": "SELECT name FROM",
    "look": "coalesce(sum(seq)",
    "rows": "SELECT r.tenant, r.key",
    "stream": "e.stream = (SELECT id",
}
LOGGED = re.compile(r"LOG:  (?:execute [^:]*|statement): (.*)")


@pytest.fixture
def logged(postgres, postgres_url):
    """A store whose statements the server logs, and a count of them by sort, with the seconds that it took."""
    url = postgres_url()
    schema = f"{parse(url).schema}."

    @contextmanager
    def counting():
        found = SimpleNamespace()
        log = postgres.folder / "log"
        start, begin = log.stat().st_size, time.monotonic()
        yield found
        found.seconds = time.monotonic() - begin
        said = LOGGED.findall(log.read_bytes()[start:].decode())
        found.counts = Counter(
            next((sort for sort, part in SORTS.items() if part in one), "other")
            for one in said
            if schema in one or "pg_notify" in one
        )

    return f"{url}&options=-c%20log_statement%3Dall", counting


def test_an_append_and_its_row_cost_few_statements(logged):
    url, counting = logged
    total = 40

    async def story():
        async with App(url, [account, balances]) as folding, App(url, [account, balances]).open(functions=False) as app:
            await folding.settle()
            await app.get(balances, "a", after=await app.send(account, "a", Open("ann")))
            with counting() as found:
                for number in range(1, total + 1):
                    receipt = await app.send(account, "a", Deposit(1))
                    assert await app.get(balances, "a", after=receipt) == number
            return found

    found = asyncio.run(story())
    counts, seconds = found.counts, found.seconds
    assert counts["commit"] <= 2 * total + 10 + 10 * seconds, counts
    assert counts["call"] <= 2 * total + 10 + 10 * seconds, counts
    assert counts["new events"] <= 1.5 * total + 10 + 10 * seconds, counts
    assert counts["rows"] <= 4 * total + 10 + 10 * seconds, counts
    assert counts["look"] <= 10 + 20 * seconds, counts
    assert counts["stream"] <= 10, counts


def test_what_many_do_at_once_shares_statements(logged):
    url, counting = logged
    senders, each = 64, 5

    async def sender(app, number):
        for deposit in range(1, each + 1):
            receipt = await app.send(account, str(number), Deposit(1))
            assert await app.get(balances, str(number), after=receipt) == deposit

    async def story():
        parts = [account, balances]
        async with App(url, parts) as folding, App(url, parts).open(functions=False) as app:
            with counting() as opening:
                await asyncio.gather(*[app.send(account, str(number), Open("ann")) for number in range(senders)])
            await folding.settle()
            with counting() as found:
                await asyncio.gather(*[sender(app, number) for number in range(senders)])
            return opening, found

    opening, found = asyncio.run(story())
    assert opening.counts["stream"] <= 10, opening.counts
    assert sum(found.counts.values()) <= senders * each + 20 + 50 * found.seconds, found.counts
