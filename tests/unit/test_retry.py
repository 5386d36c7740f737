import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog import Backoff
from foldlog.errors import Misconfigured


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_pause_stays_below_its_ceiling_until_the_attempts_are_used_up(attempt, draw):
    backoff = Backoff(attempts=100, first=0.5, ceiling=60)
    pause = backoff.pause(attempt, draw)
    if attempt >= 100:
        assert pause is None
    else:
        assert pause is not None
        assert 0 <= pause <= min(60, 0.5 * 2 ** (attempt - 1))


def test_the_longest_pause_doubles():
    backoff = Backoff()
    assert [backoff.pause(attempt, 1.0) for attempt in range(1, 11)] == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, None]
    assert Backoff(attempts=1).pause(1, 1.0) is None
    assert Backoff(attempts=10**9).pause(10**8, 1.0) == 300


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": True},
        {"attempts": 1.5},
        {"first": -1},
        {"first": 10, "ceiling": 5},
        {"ceiling": float("inf")},
        {"ceiling": float("nan")},
        {"first": float("nan")},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(options):
    with pytest.raises(Misconfigured, match="attempts >= 1"):
        Backoff(**options)
