"""When a failed attempt is made again, and when none is made because all of them fail."""

from dataclasses import dataclass

from foldlog import limits
from foldlog.errors import Misconfigured

LONGEST = 1e9
"""No pause is that long: thirty years, which still are microseconds of 64 bits."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """At most `attempts` tries; before try n+1 a pause drawn evenly from 0 to min(`ceiling`, `first` * 2^(n-1)).

    Full jitter, after Marc Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): it spreads retries
    best when many fail at once. Times are seconds. The defaults give up after about five minutes.
    """

    attempts: int = 10
    first: float = 0.5
    ceiling: float = 300.0

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1 or not 0 <= self.first <= self.ceiling < LONGEST:
            raise Misconfigured("Backoff wants attempts >= 1 and 0 <= first <= ceiling (seconds)")

    def pause(self, attempts: int, draw: float) -> float | None:
        """Seconds to wait after `attempts` failed tries, or None to give up; `draw` is a random number from 0 to 1."""
        if attempts >= self.attempts:
            return None
        return draw * min(self.ceiling, self.first * 2.0 ** min(attempts - 1, 64))


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a handler's calls stop, because what it calls is down: its events wait, and no attempt of theirs is counted.

    It looks at the last `keys` different keys that were called within `window` seconds, each by its last call. When so
    many were called, and at least `rate` of them (0 to 1) failed by an exception or a timeout, it opens. After `pause`
    seconds it lets `probes` events through, one at a time for each key; the first that goes right closes it. When all
    have failed, it opens again, for twice as long, `ceiling` seconds at most. A key counts once, so that one poison key
    never opens it.

    What fails for good on all keys looks the same. So once its pauses add up to `patience` seconds, with no `window` in
    which it stayed closed, failed attempts count: an event that was let through goes on by its own schedule, and ends
    as a dead letter, while the breaker lets others through as before.
    """

    keys: int = 20
    rate: float = 0.5
    window: float = 60.0
    pause: float = 5.0
    ceiling: float = 300.0
    probes: int = 3
    patience: float = limits.BREAKER_PATIENCE

    def __post_init__(self) -> None:
        whole = type(self.keys) is int and type(self.probes) is int
        if not (whole and 1 < self.keys <= limits.BREAKER_KEYS and 1 <= self.probes <= limits.BREAKER_KEYS):
            raise Misconfigured(f"Breaker wants keys from 2 and probes from 1, up to {limits.BREAKER_KEYS:,}")
        if not 1 / self.keys < self.rate <= 1:
            raise Misconfigured(f"Breaker wants a rate of more than 1 in {self.keys} keys, and at most 1")
        if not (0 < self.window < LONGEST and 0 < self.pause <= self.ceiling < LONGEST):
            raise Misconfigured("Breaker wants window > 0 and 0 < pause <= ceiling (seconds)")
        if not 0 <= self.patience < LONGEST:
            raise Misconfigured("Breaker wants patience >= 0 (seconds)")
