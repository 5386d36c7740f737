"""The circuit breaker of one handler in one process: closed, open after many keys failed, half-open to probe.

After Michael T. Nygard, "Release It!" (2007), chapter 5, with the count-based sliding window of Resilience4j, where
keys stand for calls: what fails for one key is that key's trouble, what fails for many is the outside's.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from foldlog.model.clock import Clock
from foldlog.model.retry import Breaker

_ANY = 2**63 - 1
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


def state_of(until: int, now: int, since: int = 0) -> str:
    """What a breaker is that is open from `since` `until` then, and half-open after it; 0 where it is closed."""
    if not until:
        return CLOSED
    # A clock that was set back tells nothing: better a probe too many than none for as long as it was set back.
    return OPEN if since <= now < until else HALF_OPEN


class Ticket(NamedTuple):
    """Leave to make one call, and in which round: what it comes to counts in that round only.

    Probes are calls while it is not closed; where one that `spares` fails, its event has lost no attempt. One `beside`
    it may close it, too, but its failure is its event's own.
    """

    round: int
    probe: bool = False
    spares: bool = False
    beside: bool = False


class Circuit:
    """Counts what calls come to and says whether another may begin. It does nothing by itself: time is looked up."""

    def __init__(self, breaker: Breaker | None, clock: Clock) -> None:
        self._breaker, self._clock = breaker, clock
        self._state = CLOSED
        self._round = 0
        self._leave = Ticket(0)
        self._calls: OrderedDict[Hashable, tuple[int, bool]] = OrderedDict()
        self._pause = self.waited = 0.0
        self._closed_at = clock.now()
        self._issued = self._failed = 0
        self.until = self._since = 0

    @property
    def state(self) -> str:
        """What it is now: "closed", "open" or "half-open"."""
        return state_of(self.until, self._clock.now(), self._since) if self._state == OPEN else self._state

    @property
    def opened(self) -> int | None:
        """Until when it is open, and half-open from then on; 0 while it is closed, None where there is no breaker."""
        if self._breaker is None:
            return None
        return 0 if self._state == CLOSED else self.until

    @property
    def impatient(self) -> bool:
        """Whether it has been open for so long (`waited`, in seconds) that failed probes count as attempts."""
        return self._breaker is not None and self._state != CLOSED and self.waited >= self._breaker.patience

    def beside(self, attempts: int) -> bool:
        """Whether an event that has had so many attempts goes on by its own schedule, though it is not closed."""
        return attempts > 0 and self.impatient

    def free(self) -> int:
        """How many calls may begin now; in half-open state as many as there are probes left."""
        if self._state == CLOSED:
            return _ANY
        if self.state == OPEN:
            return 0
        return self._probes() - (self._issued if self._state == HALF_OPEN else 0)

    def begin(self, attempts: int = 0) -> Ticket | None:
        """Leave for one call, for an event that has had so many attempts, or None; `end` it."""
        if self._state == CLOSED:
            return self._leave
        if self.beside(attempts):
            return Ticket(self._round, probe=True, beside=True)
        if self.free() <= 0:
            return None
        if self._state == OPEN:
            self._turn(HALF_OPEN)
            self._issued = self._failed = 0
        self._issued += 1
        return self._leave

    def end(self, ticket: Ticket, results: dict[Hashable, bool]) -> bool:
        """Note what a call came to: for each key whether it failed; without a key it tells nothing of the outside.

        Returns whether the state has changed.
        """
        if ticket.round != self._round or self._breaker is None:
            return False
        if self._state != CLOSED:
            return self._probed(ticket, results)
        now, breaker = self._clock.now(), self._breaker
        for key, failed in results.items():
            self._calls[key] = now, failed
            self._calls.move_to_end(key)
        while len(self._calls) > breaker.keys:
            self._calls.popitem(last=False)
        if len(self._calls) < breaker.keys or not any(results.values()):
            return False
        oldest = now - int(breaker.window * 1e6)
        recent = [failed for moment, failed in self._calls.values() if moment >= oldest]
        if len(recent) < breaker.keys or sum(recent) < breaker.rate * breaker.keys:
            return False
        if self._pause and now - self._closed_at < breaker.window * 1e6:
            # Closed for less than the window: it was closed too early, and the pauses go on growing.
            self._open(min(self._pause * 2, breaker.ceiling))
        else:
            self.waited = 0.0
            self._open(breaker.pause)
        return True

    def _probed(self, ticket: Ticket, results: dict[Hashable, bool]) -> bool:
        if results and not all(results.values()):
            self._closed_at = self._clock.now()
            self._turn(CLOSED)
            return True
        if ticket.beside:
            return False
        if not results:
            self._issued -= 1  # it told nothing: another may probe
            return False
        self._failed += 1
        if self._breaker is None or self._failed < self._probes():
            return False
        # Pauses added up, not time gone by: clocks jump, and a night without events says nothing.
        self.waited += self._pause
        self._open(min(self._pause * 2, self._breaker.ceiling))
        return True

    def _probes(self) -> int:
        return self._breaker.probes if self._breaker else 0

    def _open(self, pause: float) -> None:
        self._pause = pause
        self._since = self._clock.now()
        self.until = self._since + int(pause * 1e6)
        self._turn(OPEN)

    def _turn(self, state: str) -> None:
        self._state = state
        self._round += 1
        half_open = state == HALF_OPEN
        self._leave = Ticket(self._round, half_open, half_open and not self.impatient)
        self._calls.clear()
