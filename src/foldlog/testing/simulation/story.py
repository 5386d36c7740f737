"""The story of a run: the commands that are sent, in order, and what came of each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from foldlog import limits
from foldlog.errors import Conflict, Invalid, Misconfigured, NotFound, Rejected, TooLarge, Unavailable
from foldlog.model.message import Receipt, Send
from foldlog.testing.simulation.trace import without_addresses


@dataclass(frozen=True, slots=True)
class Wait:
    """A step of a story: let so many seconds pass, at most ten years.

    Of more than a minute (`limits.SIMULATION_LIVED`) most passes at once, as if all machines slept: half a minute is
    lived through before, and half a minute behind it.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= limits.SIMULATION_WAIT:
            raise Misconfigured(f"Wait wants seconds from 0 to {limits.SIMULATION_WAIT:,.0f}, not {self.seconds!r}")


Step = Send | Wait
Story = Callable[[Random], Iterable[Step]] | Sequence[Step]
"""A list of steps, or a function that yields them for a seeded random.Random. It sees no answers: what a command does
depends on what has happened, and so does not the story, which can then be shrunk."""


class Sent:
    """A command of the story, and what came of it: a `receipt`, the code of a refusal in `refused`, or an `error`.

    `number` is its place in the story, from 0. Before it is answered, all three are empty.
    """

    __slots__ = ("answers", "error", "number", "refused", "send")

    def __init__(self, number: int, send: Send) -> None:
        self.number, self.send = number, send
        self.answers: list[Receipt | str] = []
        self.error: Exception | None = None
        self.refused = ""

    @property
    def receipt(self) -> Receipt | None:
        """The first receipt."""
        return next((one for one in self.answers if isinstance(one, Receipt)), None)

    @property
    def command_id(self) -> str:
        """The id that it was sent with, each time."""
        return f"story-{self.number:06}"

    def answered(self, answer: Any) -> bool:
        """Take an answer; returns whether it is one, and not a reason to send again."""
        match answer:
            case Receipt():
                self.answers.append(answer)
            case Rejected() | Invalid() | NotFound() | TooLarge():
                self.refused = answer.code
                self.answers.append(answer.code)
            case Unavailable() | Conflict():
                return False
            case Exception():
                self.error = answer
            case _:
                return False
        return True

    def outcome(self) -> str:
        """What came of it, in words."""
        if self.error is not None:
            return without_addresses(f"failed with {self.error!r}")
        if (receipt := self.receipt) is not None:
            return f"stored as {receipt.stream}@{receipt.version}" if receipt.events else "accepted, nothing to store"
        return f"refused: {self.refused}" if self.refused else "without an answer"

    def __repr__(self) -> str:
        return f"<command {self.number}: {self.send!r}, {self.outcome()}>"


def steps(story: Story, seed: int, most: int) -> list[Step]:
    """The steps of a story for a seed; of a function's, `most` at most. Errors: `Misconfigured`."""
    told = islice(story(Random(f"{seed}/story")), most) if callable(story) else story
    found = list(told)
    for step in found:
        if not isinstance(step, Send | Wait):
            raise Misconfigured(f"a story is made of Send and Wait, not of {step!r}")
    return found
