"""given/when/then for processes."""

from datetime import UTC, datetime

import pytest

from foldlog import Recorded, Rejected, Send
from foldlog.errors import Invalid, Misconfigured
from foldlog.process import Accepted, Cancel, Process, Timer
from foldlog.testing import given
from tests.unit.transfers import Move, Moved, Overdue, Requested, Transfer, account, evolve, react, transfer

ASKED = Requested("a", "b", 7)


def test_answers_and_states_are_compared():
    first = given(transfer).when(ASKED)
    first.then(Send(account, "a", Move(-7)), Timer("late", Overdue("b"), after=60))
    first.then_state(Transfer("a", "b", 7))
    then = given(transfer, ASKED).when(Accepted(Move(-7)))
    then.then(Send(account, "b", Move(7)), Cancel("late"))
    then.then_state(Transfer("a", "b", 7, withdrawn=True))
    last = given(transfer, ASKED, Accepted(Move(-7))).when(Accepted(Move(7)))
    last.then_nothing()
    last.then_state(None)
    given(transfer, ASKED).when(Rejected("account.too-poor", command=Move(-7))).then_state(None)


def test_what_differs_is_told():
    with pytest.raises(AssertionError, match="answered otherwise"):
        given(transfer).when(ASKED).then(Send(account, "a", Move(-8)))
    with pytest.raises(AssertionError, match="answered otherwise"):
        given(transfer).when(ASKED).then_nothing()
    with pytest.raises(AssertionError, match="in another state"):
        given(transfer).when(ASKED).then_state(None)
    with pytest.raises(TypeError, match="then_nothing"):
        given(transfer).when(ASKED).then()
    with pytest.raises(Invalid, match="no command"):
        given(transfer).when(ASKED).then(Send(account, "a", ASKED))


def test_a_timer_rings():
    given(transfer, ASKED).when(Overdue("b")).then_state(Transfer("a", "b", 7))
    with pytest.raises(Invalid, match="takes no Moved"):
        given(transfer, ASKED, Overdue("b")).when(Moved(7))


def test_a_process_that_sees_envelopes_and_several_keys():
    def keys(event: Recorded[Requested]) -> list[str]:
        return [event.data.source, event.data.target]

    def count(state: int, event: Recorded[Requested]) -> int:
        return state + event.version

    def tell(event: Recorded[Requested], state: int) -> Send:
        return Send(account, f"n{state}", Move(1))

    counted = Process("counted", tell, count, initial=0, key=keys)
    found = given(counted, ASKED).when(Requested("a", "c", 1))
    found.then(Send(account, "n3", Move(1)), Send(account, "n2", Move(1)))
    found.then_state(3, key="a")
    found.then_state(2, key="c")
    with pytest.raises(TypeError, match="key="):
        found.then_state(3)


def test_what_no_app_would_take_is_refused():
    def nothing(event, state):
        return None

    with pytest.raises(Misconfigured, match="annotate parameter"):
        given(Process("odd", nothing, nothing, initial=None)).when(ASKED)
    with pytest.raises(Misconfigured, match="category"):
        Process("Not-a-category", react, evolve, initial=None)
    with pytest.raises(Invalid, match="after="):
        Timer("x", ASKED)
    with pytest.raises(Invalid, match="zone"):
        Timer("x", ASKED, at=datetime(2026, 1, 1))  # noqa: DTZ001 - without a zone, on purpose
    assert Timer("x", ASKED, at=datetime(2026, 1, 1, tzinfo=UTC)).due(0) == 1767225600000000
