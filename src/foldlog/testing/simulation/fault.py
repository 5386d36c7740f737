"""What can go wrong in a simulation, by name, and the dice that say when it does."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from math import log
from random import Random
from typing import NamedTuple, Self

from foldlog import limits
from foldlog.errors import Misconfigured


class Fault(StrEnum):
    """The faults. Each comes with the rate at which it happens unless the simulation says otherwise.

    A rate is the chance at one opportunity: a call to the store, an attempt of a handler, or a command of the story.
    """

    rate: float
    chance_at: str

    def __new__(cls, name: str, rate: float, chance_at: str) -> Self:
        """A text that knows its usual rate."""
        fault = str.__new__(cls, name)
        fault._value_ = name
        fault.rate, fault.chance_at = rate, chance_at
        return fault

    CRASH = "crash", 0.004, "call"
    """A process is killed before its call reaches the store; another one starts in its place."""
    CRASH_AFTER_COMMIT = "crash-after-commit", 0.01, "commit"
    """A commit is stored, and its process is killed before it hears so."""
    CRASH_IN_HANDLER = "crash-in-handler", 0.02, "attempt"
    """A handler has had its effect, and its process is killed before that is marked: the event is delivered again."""
    RESTART = "restart", 0.02, "command"
    """A process stops cleanly and starts again, as in a rolling deployment."""
    PAUSE = "pause", 0.002, "call"
    """A process stands still for longer than its lease, then goes on where it was: its late writes must be refused."""
    UNAVAILABLE = "unavailable", 0.004, "call"
    """The store refuses a call; nothing is stored."""
    DISK_FULL = "disk-full", 0.01, "command"
    """The store refuses every commit for some seconds; it can still be read."""
    SLOW_STORE = "slow-store", 0.01, "call"
    """The store's answer takes up to three seconds, so that what others do comes in between."""
    FAIL_BEFORE = "fail-before", 0.02, "attempt"
    """A handler fails before it has had any effect."""
    FAIL_AFTER = "fail-after", 0.02, "attempt"
    """A handler fails once its effect is there: the next attempt is a duplicate delivery."""
    SLOW_HANDLER = "slow-handler", 0.01, "attempt"
    """A handler takes up to twice its timeout, before or after its effect: a late delivery, or one more duplicate."""
    DUPLICATE = "duplicate", 0.03, "command"
    """A command is sent twice at the same time, with the same id, to any two processes."""
    CLOCK_JUMP = "clock-jump", 0.01, "command"
    """A process's clock jumps, up to a minute ahead or back."""


NAMED = {fault.value: fault for fault in Fault}

Rates = Mapping[Fault, float]
Plan = tuple[tuple[str, int], ...]
"""Faults by name and by the number of the opportunity at which they happen, from 0."""


class Fired(NamedTuple):
    """A fault that happened: the number of its opportunity, the time (seconds of the run), and where."""

    fault: Fault
    number: int
    at: float
    where: str


def rates(faults: Mapping[str, float] | Iterable[str] | None) -> Rates:
    """The rate of each fault: all at their usual rate (None), the named ones, or the named ones at the rates given.

    Errors: `Misconfigured` for an unknown name, and for a rate outside 0 to 1.
    """
    if faults is None:
        return {fault: fault.rate for fault in Fault}
    known = NAMED
    if isinstance(faults, str):
        faults = (faults,)
    if unknown := [name for name in faults if name not in known]:
        raise Misconfigured(f"no fault is named {str(unknown[0])!r}; there are {', '.join(known)}")
    given = faults if isinstance(faults, Mapping) else {name: known[name].rate for name in faults}
    if wrong := [name for name, rate in given.items() if not 0 <= rate <= 1]:
        raise Misconfigured(f"the rate of {str(wrong[0])!r} is a chance, from 0 to 1")
    return {known[name]: rate for name, rate in given.items()}


class Dice:
    """Says at each opportunity whether a fault happens: by its rate, or, where a plan is given, by the plan alone.

    How strong a fault is depends on its name and number only, so that taking one fault out leaves the others alike.
    """

    def __init__(self, rates: Rates, chance: int, plan: Plan | None) -> None:
        self._rates, self._chance = rates, chance
        self._random = Random(f"{chance}/faults")
        self._plan = None if plan is None else _by_fault(plan)
        self._count = dict.fromkeys(Fault, 0)
        self._next = {fault: self._after(fault, -1) for fault in Fault}
        self._left = limits.SIMULATION_FAULTS
        self.held = False
        self.fired: list[Fired] = []

    def falls(self, fault: Fault) -> bool:
        """Whether the fault happens at this opportunity. While the dice are held, there are no opportunities."""
        if self.held:
            return False
        number = self._count[fault]
        self._count[fault] = number + 1
        if number != self._next[fault]:
            return False
        self._next[fault] = self._after(fault, number)
        self._left -= 1
        return self._left >= 0

    def note(self, fault: Fault, at: float, where: str) -> float:
        """Keep that it happened now, and where; returns how strong it is, from 0 to 1."""
        number = self._count[fault] - 1
        self.fired.append(Fired(fault, number, at, where))
        return Random(f"{self._chance}/{fault}/{number}").random()

    def _after(self, fault: Fault, number: int) -> int:
        if self._plan is not None:
            planned = self._plan.get(fault, [])
            return planned.pop() if planned else -1
        rate = self._rates.get(fault, 0.0)
        if rate <= 0:
            return -1
        if rate >= 1:
            return number + 1
        return number + 1 + int(log(1 - self._random.random()) / log(1 - rate))


def _by_fault(plan: Plan) -> dict[Fault, list[int]]:
    found: dict[Fault, list[int]] = {}
    for name, number in sorted(plan, key=lambda one: -one[1]):
        found.setdefault(NAMED[name], []).append(number)
    return found
