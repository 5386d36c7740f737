"""Where lanes wait while their handler's breaker is open, and what tells the breaker how calls went."""

import heapq
import logging
from collections.abc import Hashable, Sequence

from foldlog.flow.breaker import OPEN, Circuit, Ticket
from foldlog.flow.effect import Outcome
from foldlog.flow.inbox import last_line
from foldlog.flow.page import Lane
from foldlog.model.clock import Clock

log = logging.getLogger("foldlog.deliver")


class Gate:
    """The lanes that one handler's breaker has barred, each with the attempts that its first event has had."""

    def __init__(self, function: str, circuit: Circuit, clock: Clock) -> None:
        self._function, self._circuit, self._clock = function, circuit, clock
        self.barred: dict[Lane, int] = {}

    def bar(self, lane: Lane, attempts: int) -> int | None:
        """Hold a lane back where no call may begin now; the time (µs) to `admit` again, None where it may begin."""
        if self._circuit.free():
            return None
        self.barred[lane] = attempts
        return self._circuit.until

    def admit(self) -> list[Lane]:
        """Lanes to start, as many as the breaker lets through; those whose event has had the fewest attempts first."""
        if not self.barred or not (free := self._circuit.free()):
            return []
        lanes = heapq.nsmallest(min(free, len(self.barred)), self.barred, key=self.barred.__getitem__)
        for lane in lanes:
            del self.barred[lane]
        return lanes

    @property
    def until(self) -> int:
        """When to `admit` again (µs) what is barred; in the past where calls under way decide it."""
        return self._circuit.until

    def begin(self) -> Ticket | None:
        """Leave for one call, or None; `end` it."""
        return self._circuit.begin()

    def end(self, ticket: Ticket, lanes: Sequence[Lane], found: Sequence[Outcome] | Outcome | None) -> None:
        """What a call came to for each of its lanes; None where nobody will know."""
        error, results = "", dict[Hashable, bool]()
        if isinstance(found, Outcome):
            # Which of several events a failed page failed for, its halves will tell.
            if found.raised and len(lanes) == 1:
                error, results = last_line(found.error), {lanes[0]: True}
        elif found is not None:
            answered = zip(lanes, found, strict=True)
            results = {lane: False for lane, outcome in answered if outcome.never or not outcome.error}
        if not self._circuit.end(ticket, results):
            return
        extra = {"function": self._function, "error": error}
        if self._circuit.state == OPEN:
            log.error(
                "%s: its breaker is open, events wait for %.0f seconds: calls fail for many keys: %s",
                self._function,
                (self._circuit.until - self._clock.now()) / 1e6,
                error,
                extra=extra,
            )
        else:
            log.warning("%s: its breaker is closed again", self._function, extra=extra)
