"""A failing case made small: fewer commands, fewer processes, fewer faults, as long as the same invariant breaks.

Delta debugging (Zeller and Hildebrandt, 2002) over the steps of the story, then over the faults. Nothing in it is left
to luck, so the same failure always becomes the same story.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from foldlog import limits
from foldlog.testing.simulation.fault import Plan
from foldlog.testing.simulation.run import Case, Ran

T = TypeVar("T")


class Shrink:
    """`run` runs a case. `best` is the smallest run that failed so far, `runs` how many it took."""

    def __init__(self, run: Callable[[Case], Ran], failed: Ran) -> None:
        if failed.broken is None:
            raise ValueError("only a run that failed can be shrunk")
        self._run, self._invariant = run, failed.broken.invariant
        self.best = failed
        self.runs = 0

    def go(self) -> Ran:
        """The smallest run found within `limits.SIMULATION_SHRINK` runs."""
        self._fewer_steps()
        self._fewer_processes()
        self._fewer_faults()
        self._earlier_faults()
        self._fewer_steps()
        self._fewer_processes()
        self._fewer_faults()
        return self.best

    def _fewer_steps(self) -> None:
        smallest(self.best.told, lambda keep: self._fails_somehow(self.best.case._replace(keep=keep)))

    def _fewer_processes(self) -> None:
        for processes in range(1, self.best.case.processes):
            if self._fails_somehow(self.best.case._replace(processes=processes)):
                return

    def _fewer_faults(self) -> None:
        fired = tuple((one.fault.value, one.number) for one in self.best.fired)
        if self._fails(self.best.case._replace(faults=fired)):
            smallest(fired, lambda faults: self._fails_somehow(self.best.case._replace(faults=faults)))

    def _earlier_faults(self) -> None:
        for place, (name, number) in enumerate(self.best.case.faults or ()):
            for earlier in (0, *(1 << power for power in range(number.bit_length()) if 1 << power < number)):
                faults = list(self.best.case.faults or ())
                faults[place] = name, earlier
                if len(set(faults)) == len(faults) and self._fails(self.best.case._replace(faults=tuple(faults))):
                    break

    def _fails_somehow(self, case: Case) -> bool:
        """With fewer commands everything happens at another moment, so a smaller case is tried in several ways.

        With other chances; and faults, once they are listed, each a few opportunities earlier.
        """
        tries = limits.SIMULATION_TRIES
        chances = [case.chance, *(one for one in range(tries) if one != case.chance)][:tries]
        return any(
            self._fails(case._replace(chance=chance, faults=faults)) for faults in _earlier(case) for chance in chances
        )

    def _fails(self, case: Case) -> bool:
        if self.runs >= limits.SIMULATION_SHRINK:
            return False
        self.runs += 1
        ran = self._run(case)
        if ran.broken is None or ran.broken.invariant != self._invariant:
            return False
        self.best = ran
        return True


def _earlier(case: Case) -> Iterator[Plan | None]:
    """The case's faults as they are, then each a few opportunities earlier."""
    yield case.faults
    for less in range(
        1, min(max((number for _, number in case.faults or ()), default=0), limits.SIMULATION_EARLIER) + 1
    ):
        yield tuple((name, max(0, number - less)) for name, number in case.faults or ())


def smallest(items: Sequence[T], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Items of which none can be left out without `fails` answering False, in their order; `items` as a whole fail."""
    kept = tuple(items)
    size = len(kept)
    while size >= 1 and kept:
        start = 0
        while start < len(kept):
            without = kept[:start] + kept[start + size :]
            if fails(without):
                kept = without
            else:
                start += size
        if size == 1:
            return kept
        size = max(1, min(size // 2, len(kept)))
    return kept
