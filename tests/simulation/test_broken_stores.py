"""The simulation can fail: stores that break one promise of the port each are found out, with the bank on them."""

import msgspec
import pytest

from foldlog import limits
from foldlog.engines.memory import MemoryStore
from foldlog.ports.store import Batch, Put
from foldlog.testing.simulation import Found, run
from tests.simulation import bank


def without_condition(batch, table):
    rows = [msgspec.structs.replace(row, if_version=None) if row.table.name == table else row for row in batch.rows]
    return Batch(batch.appends, rows)


class Unfenced(MemoryStore):
    """Takes the checkpoints of owners that have lost their lease."""

    async def commit(self, batch):
        return await super().commit(without_condition(batch, "checkpoints"))


class Forgetful(MemoryStore):
    """Takes a command id twice."""

    async def commit(self, batch):
        appends = [msgspec.structs.replace(one, expected=-1) for one in batch.appends]
        return await super().commit(without_condition(Batch(appends, batch.rows), "commands"))


class Torn(MemoryStore):
    """Now and then stores a projection's checkpoint without its rows."""

    async def commit(self, batch):
        self.commits = getattr(self, "commits", 0) + 1
        if self.commits % 5 == 0 and any(row.table.name == "view.balances.1" for row in batch.rows):
            kept = [row for row in batch.rows if row.table.name != "view.balances.1"]
            return await super().commit(Batch(batch.appends, kept))
        return await super().commit(batch)


class Blind(MemoryStore):
    """Skips an event now and then when it is read with others."""

    async def read(self, query, after=0, limit=1_000, *, backward=False):
        page = await super().read(query, after, limit, backward=backward)
        if len(page.events) > 1 and query.types:
            del page.events[0]
        return page


class Deaf(MemoryStore):
    """Forgets to delete the outbox row of a command that was sent."""

    async def commit(self, batch):
        rows = [row for row in batch.rows if isinstance(row, Put) or not batch.appends]
        return await super().commit(Batch(batch.appends, rows))


@pytest.mark.parametrize(
    ("store", "suspects"),
    [
        (
            Unfenced,
            {
                "checkpoints_never_go_back",
                "comes_to_rest",
                "rows_equal_a_fresh_fold",
                "no_money_is_made",
                "no_account_is_overdrawn",
            },
        ),
        (Forgetful, {"each_command_took_effect_once"}),
        (Torn, {"rows_equal_a_fresh_fold"}),
        (Blind, {"rows_equal_a_fresh_fold", "no_money_is_made"}),
        (Deaf, {"no_money_is_made", "comes_to_rest", "rows_equal_a_fresh_fold"}),
    ],
)
def test_a_store_that_breaks_a_promise_is_found_out(store, suspects, monkeypatch):
    monkeypatch.setattr(run, "MemoryStore", store)
    monkeypatch.setattr(limits, "SIMULATION_REST", 120.0)  # simulated; who never comes to rest is shrunk by many runs
    with pytest.raises(Found) as raised:
        bank.simulation().check(300)
    assert raised.value.ran.broken.invariant in suspects
    assert len(raised.value.ran.told) <= 6
