"""The circuit breaker: its table of states."""

import pytest

from foldlog import Breaker
from foldlog.errors import Misconfigured
from foldlog.flow.breaker import CLOSED, HALF_OPEN, OPEN, Circuit
from foldlog.testing.kit import FakeClock

QUICK = Breaker(keys=4, rate=0.5, window=60, pause=5, ceiling=15, probes=2)


class SetClock:
    """A clock that can be set back, as a machine's can."""

    time = 1_767_225_600_000_000

    def now(self):
        return self.time


def circuit(breaker=QUICK):
    clock = FakeClock()
    return Circuit(breaker, clock), clock


def call(it, key, failed):
    ticket = it.begin()
    assert ticket is not None
    return it.end(ticket, {} if failed is None else {key: failed})


def calls(it, results):
    """Calls written as text: each key in lower case went right, in upper case failed."""
    for one in results:
        call(it, one.lower(), failed=one.isupper())


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("abcdefgh", CLOSED),
        ("aBcD", OPEN),
        ("BDac", CLOSED),  # looked at when something fails
        ("BDacE", OPEN),  # D, a, c and E
        ("ABC", CLOSED),  # too few keys to tell
        ("AAAAAAAAAAAA", CLOSED),  # one poison key, however often
        ("abcAAAA", CLOSED),
        ("abcAaAaA", CLOSED),
        ("ABabCcdD", CLOSED),  # a key counts by its last call
        ("ABabCdD", OPEN),
        ("ABcdcD", OPEN),
        ("ABCD", OPEN),
        ("abcdefABCD", OPEN),
    ],
)
def test_it_opens_when_many_of_the_last_keys_failed(results, state):
    it, _ = circuit()
    for one in results:
        if it.state == OPEN:
            break
        call(it, one.lower(), failed=one.isupper())
    assert it.state == state


def test_what_is_older_than_the_window_does_not_count():
    it, clock = circuit()
    calls(it, "ABC")
    clock.advance(61)
    calls(it, "Dab")
    assert it.state == CLOSED
    calls(it, "C")
    assert it.state == OPEN


def test_a_call_that_tells_nothing_counts_for_nothing():
    it, _ = circuit()
    for key in "abcd":
        assert not call(it, key, None)
    calls(it, "ABC")
    assert it.state == CLOSED
    assert call(it, "d", failed=True)


def test_open_lets_nothing_through_then_probes_and_closes():
    it, clock = circuit()
    calls(it, "ABCD")
    assert (it.state, it.free(), it.begin()) == (OPEN, 0, None)
    clock.advance(4.9)
    assert it.begin() is None
    clock.advance(0.1)
    assert (it.state, it.free()) == (HALF_OPEN, 2)
    first, second = it.begin(), it.begin()
    assert first.probe
    assert second.probe
    assert it.begin() is None
    assert not it.end(first, {"a": True})
    assert it.end(second, {"b": False})
    assert it.state == CLOSED
    calls(it, "AB")
    assert it.state == CLOSED  # what was before is forgotten


def test_when_all_probes_fail_it_opens_for_twice_as_long_up_to_the_ceiling():
    it, clock = circuit()
    calls(it, "ABCD")
    for pause in (10, 15, 15):
        clock.advance(15)
        calls(it, "A")
        calls(it, "B")
        assert it.state == OPEN
        assert it.until == clock.now() + pause * 1_000_000


def test_a_clock_that_is_set_back_does_not_keep_it_open():
    clock = SetClock()
    it = Circuit(QUICK, clock)
    calls(it, "ABCD")
    assert it.state == OPEN
    clock.time -= 3600_000_000
    assert it.state == HALF_OPEN
    calls(it, "a")
    assert it.state == CLOSED


def test_probes_count_as_attempts_once_its_patience_is_over():
    it, clock = circuit(Breaker(keys=4, rate=0.5, window=60, pause=5, ceiling=15, probes=2, patience=40))
    calls(it, "ABCD")
    for _ in range(3):  # 5, 10 and 15 seconds
        clock.advance(15)
        assert not it.impatient
        probe = it.begin(7)
        assert probe.spares
        it.end(probe, {"a": True})
        calls(it, "B")
        assert it.state == OPEN
    assert not it.impatient
    clock.advance(15)
    calls(it, "AB")
    assert (it.state, it.impatient) == (OPEN, True)
    clock.advance(14)
    assert it.begin(0) is None
    beside = it.begin(1)  # its attempts count already: it goes on beside the breaker
    assert (beside.probe, beside.spares) == (True, False)
    assert not it.end(beside, {"c": True})
    clock.advance(1)
    probe = it.begin(0)
    assert (probe.probe, probe.spares) == (True, False)
    assert it.end(probe, {"a": False})
    assert (it.state, it.impatient) == (CLOSED, False)
    calls(it, "ABCD")
    assert it.impatient  # closed too early
    clock.advance(15)
    calls(it, "a")
    clock.advance(61)
    calls(it, "ABCD")
    clock.advance(15)
    assert it.begin(0).spares


def test_only_time_in_which_events_waited_uses_up_its_patience():
    it, clock = circuit(Breaker(keys=4, rate=0.5, pause=5, ceiling=15, probes=1, patience=10))
    calls(it, "ABCD")
    clock.advance(86_400)
    calls(it, "A")
    assert not it.impatient


def test_a_call_beside_it_that_goes_right_closes_it():
    it, _ = circuit(Breaker(keys=4, rate=0.5, pause=5, ceiling=15, probes=1, patience=0))
    calls(it, "ABCD")
    assert it.impatient
    assert not it.end(it.begin(1), {})
    assert it.end(it.begin(1), {"a": False})
    assert it.state == CLOSED


def test_a_probe_that_tells_nothing_is_given_back():
    it, clock = circuit()
    calls(it, "ABCD")
    clock.advance(5)
    for _ in range(5):
        call(it, "a", None)
    assert it.free() == 2
    calls(it, "AB")
    assert it.state == OPEN


def test_closed_too_early_it_waits_longer_and_after_a_good_time_as_at_first():
    it, clock = circuit()
    calls(it, "ABCD")
    clock.advance(5)
    calls(it, "a")
    calls(it, "ABCD")
    assert it.until == clock.now() + 10_000_000
    clock.advance(10)
    calls(it, "a")
    clock.advance(61)
    calls(it, "ABCD")
    assert it.until == clock.now() + 5_000_000


def test_what_began_in_an_earlier_round_counts_no_more():
    it, clock = circuit()
    late = [it.begin() for _ in range(9)]
    calls(it, "ABCD")
    assert not it.end(late.pop(), {"x": False})
    clock.advance(5)
    assert not it.end(late.pop(), {"x": False})
    probe = it.begin()
    calls(it, "a")
    assert it.state == CLOSED
    for ticket in (probe, *late):
        assert not it.end(ticket, {"x": True})
    assert it.state == CLOSED


def test_without_a_breaker_all_calls_go_through():
    it, _ = circuit(None)
    calls(it, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert it.state == CLOSED


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": 1},
        {"keys": 2.0},
        {"keys": 1_001},
        {"probes": 0},
        {"probes": True},
        {"rate": 0},
        {"rate": 0.05},
        {"rate": 1.1},
        {"rate": float("nan")},
        {"window": 0},
        {"pause": 0},
        {"pause": 10, "ceiling": 5},
        {"ceiling": float("inf")},
        {"patience": -1},
        {"patience": float("inf")},
    ],
)
def test_a_breaker_that_could_not_work_is_misconfigured(wrong):
    with pytest.raises(Misconfigured, match="Breaker wants"):
        Breaker(**wrong)
