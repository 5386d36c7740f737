"""The process: a fold over events that answers with commands and timers; what came of those comes back as events.

`react(event, state)` is pure, like `evolve`: it says what is to happen. That it happens, once, is the runtime's work.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured
from foldlog.model.event import ACCEPTED, CANCELLED
from foldlog.model.message import Send, to_micros
from foldlog.model.retry import LONGEST, Backoff
from foldlog.model.stream import check_category, check_part

S = TypeVar("S")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Timer:
    """An answer of `react`: let this event come back to the process, `after` so long, or `at` a time with its zone.

    `after`, in seconds or as a `timedelta`, counts from when the event that is answered was recorded. When it is due,
    the event is appended to the process's stream, and comes to `evolve` and `react` like any other. Each instance knows
    its timers by `name`: one that is set again moves. An instance has at most `limits.TIMERS` of them.
    """

    name: str
    event: Any
    after: float | timedelta | None = None
    at: datetime | None = None

    def __post_init__(self) -> None:
        check_part(self.name)
        if (self.after is None) == (self.at is None):
            raise Invalid(f"timer {self.name!r}: write after= (seconds), or at= (a time with its zone)")
        if self.at is not None and (not isinstance(self.at, datetime) or self.at.tzinfo is None):
            raise Invalid(f"timer {self.name!r}: at= is a time with its zone, datetime.now(UTC) for instance")
        if self.after is not None and not 0 <= _seconds(self.after) < LONGEST:
            raise Invalid(f"timer {self.name!r}: after= is seconds from 0 to {LONGEST:,.0f}")

    def due(self, since: int) -> int:
        """When it rings, in microseconds since 1970, for an event recorded at `since`."""
        if self.at is not None:
            return max(0, to_micros(self.at))
        return since + int(_seconds(self.after or 0) * 1e6)


def _seconds(length: float | timedelta) -> float:
    return length.total_seconds() if isinstance(length, timedelta) else length


@dataclass(frozen=True, slots=True)
class Cancel:
    """An answer of `react`: the timer of this name is not to come back. One that is not set is no fault."""

    name: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What comes back, to a process that takes it, of a command that was carried out: the command, the decider's
    category and the key it was sent to. Its events are in the log just before."""

    command: Any
    decider: str = ""
    key: str = ""

    __foldlog__ = ACCEPTED


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What comes back, to a process that takes it, when an operator cancels an instance. Where it is not taken the
    instance just ends. `lost` is "accepted" or "rejected" where such an answer to a command was given up with it,
    because it could not be taken: it will not come any more."""

    why: str = ""
    lost: str = ""

    __foldlog__ = CANCELLED


Answer = Send | Timer | Cancel
Key = Callable[[Any], str | Iterable[str] | None]


class Process(Generic[S, E]):
    """A process manager: many instances, each a state by key, that follows events and answers with what is to happen.

    `evolve(state, event)` returns the next state, from `initial` on; None ends the instance: its row and its timers
    go. `react(event, state)`, called with the state after `evolve`, returns a list of `Send`, `Timer` and `Cancel`, or
    None. Both are pure. Events are read from the annotations, as `on` says otherwise; each function is called with
    those that it takes. Annotate `Recorded[E]` to see the envelope. The state's type is the annotation of `evolve`'s
    answer, or `state`.

    `key(event)` returns the instance that an event is for, several of them, or None for an event that is not for this
    process; without it the key is the stream's. Timers, and what came of commands, come back to the instance they are
    of: `Accepted`, `Rejected` and `Cancelled` where the process takes them. A refused command whose process takes no
    `Rejected` becomes a dead letter; one that fails otherwise is retried as `retry` says, then becomes one.

    `version` is that of the state's shape: list an `Upcast` of the process's name for each older one. `concurrency` is
    how many keys are worked off at once; `start` where a process that never ran begins: at the "first" event or at
    what is "new". The name is the category of the process's own streams. Errors: `Misconfigured`.
    """

    __slots__ = ("concurrency", "evolve", "initial", "key", "name", "on", "react", "retry", "start", "state", "version")

    def __init__(  # noqa: PLR0913 - what a process is, and how it runs
        self,
        name: str,
        react: Callable[[Any, S], Sequence[Answer] | Answer | None],
        evolve: Callable[[S, E], S],
        initial: S,
        key: Key | None = None,
        *,
        on: Any = None,
        state: Any = None,
        version: int = 1,
        retry: Backoff | None = None,
        concurrency: int = limits.PROCESS_CONCURRENCY,
        start: str = "first",
    ) -> None:
        try:
            self.name = check_category(name)
        except Invalid as error:
            raise Misconfigured(f"{error.message} (a process's name is the category of its streams)") from error
        if type(version) is not int or not 1 <= version < 2**31:
            raise Misconfigured(f"process {name!r}: the version is a whole number from 1")
        if start not in {"first", "new"}:
            raise Misconfigured(f"process {name!r}: start is 'first' or 'new', not {start!r}")
        if type(concurrency) is not int or not 1 <= concurrency <= limits.WINDOW:
            raise Misconfigured(f"process {name!r}: concurrency is 1 to {limits.WINDOW}")
        self.react, self.evolve, self.initial, self.key = react, evolve, initial, key
        self.on, self.state, self.version = on, state, version
        self.retry, self.concurrency, self.start = retry or Backoff(), concurrency, start

    def __repr__(self) -> str:
        return f"Process({self.name!r})"


def answers(answer: object, what: str) -> Sequence[Answer]:
    """What `react` answered, checked: None and a single value are lists too. Errors: `Invalid`."""
    found = () if answer is None else (answer,) if isinstance(answer, Answer) else answer
    if not isinstance(found, list | tuple) or not all(isinstance(one, Answer) for one in found):
        raise Invalid(f"react of {what} answered {_short(answer)}: return a list of Send, Timer and Cancel, or None")
    if len(found) > limits.SENDS:
        raise Invalid(f"react of {what} answered {len(found)} commands and timers; the limit is {limits.SENDS}")
    names = [one.name for one in found if not isinstance(one, Send)]
    if len(set(names)) != len(names):
        raise Invalid(f"react of {what} names a timer twice in one answer")
    return found


def _short(answer: object) -> str:
    if isinstance(answer, list | tuple):
        return f"a list with {', '.join(sorted({type(one).__name__ for one in answer}))}"
    return type(answer).__name__
