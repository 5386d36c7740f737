"""The simulations' stories and invariants on SQLite and PostgreSQL."""

import asyncio

import pytest

from foldlog.testing.simulation import Seen
from tests.simulation.real import TOLD, ran
from tests.simulation.transfers import account

SEEDS = range(3)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return lambda name: f"sqlite:{tmp_path}/{name}.db"


@pytest.mark.parametrize("name", TOLD)
def test_what_holds_in_a_simulation_holds_on_a_real_store(name, url):
    runs = [asyncio.run(ran(TOLD[name], url(f"s{seed}"), seed)) for seed in SEEDS]
    assert [run.broken for run in runs] == [None] * len(runs)
    assert min(run.events for run in runs) > 5
    assert sum(run.twice for run in runs) > 0
    assert sum(run.again for run in runs) > 0


def test_what_does_not_hold_is_found_there_too(url):
    def nobody_has_money(seen: Seen[None]) -> None:
        assert not seen.state(account, "ann").balance

    broken = asyncio.run(ran(TOLD["saga"]._replace(invariants=[nobody_has_money]), url("s"), 0)).broken
    assert broken.invariant == "nobody_has_money"
