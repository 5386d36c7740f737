"""When a failed attempt is made again."""

from dataclasses import dataclass

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
