import pytest

from foldlog import Decider, Query
from foldlog.errors import Misconfigured


def decide(command: int, state: int) -> list[int]:
    return [command] * state


def evolve(state: int, event: int) -> int:
    return state + event


def test_a_decider_is_its_three_parts():
    decider = Decider("account", decide, evolve, 1)
    assert (decider.decide, decider.evolve, decider.initial, decider.scope) == (decide, evolve, 1, None)
    assert repr(decider) == "Decider('account')"


def test_a_scope_is_a_function_to_a_query():
    decider = Decider("seat", decide, evolve, 0, scope=lambda command: Query(tags=(f"show:{command}",)))
    assert decider.scope(5) == Query(tags=("show:5",))


@pytest.mark.parametrize("category", ["", "Account", "a-b", "1a", "ä", "a" * 65, None])
def test_a_bad_category_is_refused(category):
    with pytest.raises(Misconfigured, match="bad category"):
        Decider(category, decide, evolve, 0)
