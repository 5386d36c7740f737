"""The public face: a simulation of an app, run for many seeds; a failure becomes a short story."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Generic, TypeVar

from foldlog import limits
from foldlog.app import App
from foldlog.errors import Misconfigured
from foldlog.model.retry import LONGEST
from foldlog.testing.simulation.fault import Fault, rates
from foldlog.testing.simulation.run import Case, Invariant, Ran, Run, Setting, resolved
from foldlog.testing.simulation.shrink import Shrink
from foldlog.testing.simulation.story import Story, steps

W = TypeVar("W")


class Found(AssertionError):
    """A simulation broke an invariant. The message is the story; `ran` is the run after shrinking, `first` before."""

    def __init__(self, message: str, ran: Ran, first: Ran) -> None:
        super().__init__(message)
        self.ran, self.first = ran, first


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` has run: how many seeds, events and simulated seconds, and how often each fault happened."""

    seeds: int
    events: int
    seconds: float
    fired: Counter[Fault] = field(default_factory=Counter[Fault])

    def needs(self, *faults: str) -> "Report":
        """Refuse a report in which one of these faults never happened. Errors: `AssertionError`, `Misconfigured`."""
        if missing := [fault.value for fault in rates(faults) if not self.fired[fault]]:
            raise AssertionError(
                f"{', '.join(missing)} never happened in {self.seeds} seeds: raise the rate, or run more of them"
            )
        return self


class Simulation(Generic[W]):
    """An app on simulated processes with simulated time, faults included; the same seed is the same run, byte for byte.

    `parts` are what an `App` takes, or an App (its parts are taken), or a function that makes either; `world` makes
    what the handlers act on, new for each run, and `parts` is then a function of it. `story` is a list of `Send` and
    `Wait`, or a function that yields them for a seeded random.Random. `invariants` are plain functions of `Seen`,
    called at quiet points; those that hold for every app are always checked. `processes` is how many there are, or
    (fewest, most). `faults` names those that may happen, or gives their rates; None stands for all, () for none.
    `lease` is as for App, in simulated seconds. Errors: `Misconfigured`.
    """

    def __init__(
        self,
        parts: Any,
        story: Story,
        invariants: Sequence[Invariant[W]] = (),
        *,
        world: Callable[[], W] | None = None,
        processes: int | tuple[int, int] = (1, 3),
        faults: Mapping[str, float] | Iterable[str] | None = None,
        lease: float = limits.LEASE,
        steps: int = limits.SIMULATION_STEPS,
    ) -> None:
        self._fewest, self._most = (processes, processes) if isinstance(processes, int) else processes
        if not 1 <= self._fewest <= self._most <= limits.SIMULATION_PROCESSES:
            raise Misconfigured(f"processes is a number from 1 to {limits.SIMULATION_PROCESSES}, or two of them")
        if not 0 < lease < LONGEST or not 1 <= steps <= limits.SIMULATION_STEPS:
            raise Misconfigured(f"lease is seconds, more than 0; steps is 1 to {limits.SIMULATION_STEPS:,}")
        self._story, self._steps = story, steps
        if isinstance(parts, App | Sequence):
            parts = resolved(parts)  # once for all runs
        elif not callable(parts):
            raise Misconfigured(f"a simulation takes parts, an App, or a function that makes them, not {parts!r}")
        self._setting = Setting(parts, tuple(invariants), world, rates(faults), lease)

    def run(self, seed: int) -> Ran:
        """Run one seed, and answer what came of it, whether good or bad."""
        processes = Random(f"{seed}/processes").randint(self._fewest, self._most)
        return self.replay(Case(seed, seed, processes))

    def replay(self, case: Case) -> Ran:
        """Run one case, as a failure prints it."""
        numbered = list(enumerate(steps(self._story, case.seed, self._steps)))
        if case.keep is not None:
            kept = set(case.keep)
            numbered = [one for one in numbered if one[0] in kept]
        return Run(self._setting, case, numbered).go()

    def check(self, seeds: int | Iterable[int] = 100) -> Report:
        """Run so many seeds, from 0, or these. Errors: `Found`, an AssertionError: the first failure, made short."""
        count = events = 0
        seconds = 0.0
        fired: Counter[Fault] = Counter()
        for seed in range(seeds) if isinstance(seeds, int) else seeds:
            ran = self.run(seed)
            if ran.broken is not None:
                raise self.found(ran)
            count += 1
            events += ran.events
            seconds += ran.seconds
            fired.update(one.fault for one in ran.fired)
        return Report(count, events, seconds, fired)

    def found(self, failed: Ran) -> Found:
        """A failed run as an error: replayed, shrunk, and told."""
        __tracebackhide__ = True
        self._replays(failed)
        shrink = Shrink(self.replay, failed)
        return Found(_told(failed, shrink.go(), shrink.runs), shrink.best, failed)

    def _replays(self, failed: Ran) -> None:
        again = self.replay(failed.case)
        for one, other in itertools.zip_longest(failed.trace.lines(), again.trace.lines()):
            if one != other:
                raise AssertionError(
                    f"{failed.case!r} failed ({failed.broken}), and went another way when it was run again:\n"
                    f"  first  {one}\n  then   {other}\n"
                    "Something is not in the seed's hands: a handler or fold that asks the machine for the time, for "
                    "randomness beside the module `random`, for a thread or a socket; or a world that is not made "
                    "anew by world=. Take ctx.now and ctx.id, and let the world be simulated."
                )


def _told(failed: Ran, ran: Ran, runs: int) -> str:
    case, broken = ran.case, ran.broken
    name, said = (broken.invariant, broken.said) if broken is not None else ("", "")
    smaller = (
        f"commands and waits {len(failed.told)} -> {len(ran.told)}, faults {len(failed.fired)} -> {len(ran.fired)}, "
        f"processes {failed.case.processes} -> {case.processes}"
    )
    lines = [
        f"{name} broke: {said}",
        "",
        f"seed {case.seed}, made smaller in {runs} runs: {smaller}",
        "",
        *_shortened(list(ran.trace.story())),
        "",
        "To run it again (Case is in foldlog.testing.simulation), on the same Simulation:",
        "",
        f"    ran = simulation.replay({case!r})",
        '    print("\\n".join(ran.trace.lines()))',
    ]
    return "\n".join(lines)


def _shortened(lines: list[str]) -> list[str]:
    most = limits.SIMULATION_STORY
    if len(lines) <= most:
        return lines
    return [*lines[: most // 2], f"... {len(lines) - most} lines ...", *lines[-(most - most // 2) :]]
