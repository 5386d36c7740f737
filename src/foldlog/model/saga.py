"""The saga: steps in order, undone in reverse when one fails. A function that returns a `Process`, and nothing else.

After Hector Garcia-Molina and Kenneth Salem, "Sagas" (1987), with compensations that must succeed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, get_args

import msgspec

from foldlog import limits
from foldlog.errors import Misconfigured, Rejected
from foldlog.model.event import TIMED_OUT, stored
from foldlog.model.message import Send
from foldlog.model.process import Accepted, Answer, Cancel, Cancelled, Key, Process, Timer
from foldlog.model.retry import Backoff

E = TypeVar("E")
DOING, WAITING, FAILED, UNDOING = "doing", "waiting", "failed", "undoing"
_TIMER = "step"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga: `do(event)` returns the command that it sends, `undo(event)` the one that takes its effect
    back; each is given the event that began the saga, and may return None for nothing to do.

    The step has taken effect once its command was accepted. With `done`, event types, it has once such an event came
    for the saga's key, and `failed` names events that say it will not. After `timeout` seconds, or a `timedelta`,
    without that it has failed: then it is undone, too, in case its command was accepted, so it needs an `undo`.
    """

    do: Callable[[Any], Send | None]
    undo: Callable[[Any], Send | None] | None = None
    timeout: float | timedelta | None = None
    done: Any = None
    failed: Any = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """What comes back to a saga whose step, by its number from 0, has taken too long."""

    step: int

    __foldlog__ = TIMED_OUT


class Saga(msgspec.Struct, Generic[E], frozen=True):
    """How far a saga is: the event that began it, the step it is at (from 0), and what it does there.

    `phase` is "doing" (the step's command is on its way), "waiting" (accepted; an event is to say that it is done),
    "failed" (its command is on its way, and will be undone if it is accepted), or "undoing". `seen` says that an event
    has come that ends the step: what remains is the answer to its command. `why` is the reason of a failure. `sends`
    says what this very event leads to: "do", "undo" or "".
    """

    event: E
    step: int = 0
    phase: str = DOING
    seen: str = ""
    why: str = ""
    sends: str = ""


def saga(
    name: str,
    steps: Sequence[Step],
    *,
    on: type[E],
    key: Key | None = None,
    version: int = 1,
    retry: Backoff | None = None,
    concurrency: int = limits.PROCESS_CONCURRENCY,
    start: str = "first",
) -> Process[Saga[E] | None, Any]:
    """A process that begins with an event of type `on`, does its steps in order and then ends.

    When a step is refused, fails or takes too long, the steps before it are undone in reverse, each once, whatever
    crashes meanwhile. An undo that is refused is tried again as `retry` says, then kept as a dead letter: replayed it
    goes on from there, discarded it counts as undone. `foldlog processes cancel` makes a saga fail where it stands.
    The last step may have no undo: once it was accepted the saga is done, though it was cancelled meanwhile. `key`,
    `version`, `concurrency` and `start` are those of `Process`. Errors: `Misconfigured`.
    """
    if (mark := stored(on)) is None or mark.kind != "event":
        raise Misconfigured(f"saga {name!r}: on= is the class of the event that it begins with")
    if not steps or not all(isinstance(one, Step) for one in steps):
        raise Misconfigured(f"saga {name!r}: steps is a list of at least one Step")
    if any(one.timeout is not None and one.undo is None for one in steps):
        raise Misconfigured(f"saga {name!r}: a step that takes too long may have taken effect: give it an undo=, too")
    run = _Run(tuple(steps), on)
    ends = [kind for one in steps for kind in (*_types(one.done), *_types(one.failed))]
    takes = tuple(dict.fromkeys([on, *ends, Accepted, Rejected, Cancelled, TimedOut]))
    return Process(
        name,
        run.react,
        run.evolve,
        None,
        key,
        on=takes,
        state=Saga[on],  # type: ignore[valid-type]  # a class that is known when the saga is made
        version=version,
        retry=retry,
        concurrency=concurrency,
        start=start,
    )


def _types(named: Any) -> tuple[type, ...]:
    if named is None:
        return ()
    return tuple(named) if isinstance(named, tuple | list) else get_args(named) or (named,)


class _Run:
    """The fold and its answers, for one list of steps."""

    def __init__(self, steps: tuple[Step, ...], begins: type) -> None:
        self._steps, self._begins = steps, begins

    def evolve(self, saga: Saga[Any] | None, event: Any) -> Saga[Any] | None:
        if saga is None:
            return self._do(Saga(event), 0) if isinstance(event, self._begins) else None
        saga = msgspec.structs.replace(saga, sends="")
        match event:
            case Accepted():
                return self._accepted(saga)
            case Rejected(code=code, message=message):
                return self._refused(saga, f"{code}: {message}")
            case TimedOut():
                return self._fail(saga, "it took too long")
            case Cancelled(why, lost) if lost and saga.phase != WAITING:
                return self._unheard(saga, why, accepted=lost == "accepted")
            case Cancelled(why):
                return self._fail(saga, f"cancelled: {why}" if why else "cancelled")
        return self._heard(saga, event)

    def react(self, _event: Any, saga: Saga[Any] | None) -> list[Answer]:
        if saga is None or not saga.sends:
            return []
        step = self._steps[saga.step]
        if saga.sends == "undo":
            send = _asked(step.undo, saga)
            return [Cancel(_TIMER), *([Send(send.decider, send.key, send.command, insist=True)] if send else [])]
        send = _asked(step.do, saga)
        found: list[Answer] = [send] if send else []
        timed = step.timeout is not None
        return [*found, Timer(_TIMER, TimedOut(saga.step), after=step.timeout) if timed else Cancel(_TIMER)]

    def _accepted(self, saga: Saga[Any]) -> Saga[Any] | None:
        if saga.phase == UNDOING:
            return self._undo(saga, saga.step - 1)
        last = self._do(saga, saga.step + 1) is None and self._steps[saga.step].undo is None
        if saga.phase == FAILED and not (last and saga.seen != FAILED):
            return self._undo(saga, saga.step - (saga.seen == FAILED))
        if saga.phase == DOING and self._steps[saga.step].done is not None and not saga.seen:
            return msgspec.structs.replace(saga, phase=WAITING)
        return self._do(saga, saga.step + 1)

    def _refused(self, saga: Saga[Any], why: str) -> Saga[Any] | None:
        if saga.phase != UNDOING:
            saga = msgspec.structs.replace(saga, why=saga.why or why)
        return self._undo(saga, saga.step - 1)  # an undo that an operator has let go counts as undone

    def _unheard(self, saga: Saga[Any], why: str, *, accepted: bool) -> Saga[Any] | None:
        """Cancelled, and the answer to the command that is on its way could not be taken: it is known all the same."""
        if saga.phase == UNDOING:
            return self._undo(saga, saga.step - 1)
        failed = msgspec.structs.replace(saga, why=saga.why or (f"cancelled: {why}" if why else "cancelled"))
        return self._undo(failed, saga.step - (not accepted or saga.seen == FAILED))

    def _fail(self, saga: Saga[Any], why: str, *, undo: bool = True) -> Saga[Any] | None:
        """The step has failed: at once where its command was answered, else as soon as it is."""
        if saga.phase == FAILED and not undo:
            return msgspec.structs.replace(saga, seen=FAILED)  # given up before, and now there is nothing to undo
        if saga.phase in {UNDOING, FAILED}:
            return saga
        failed = msgspec.structs.replace(saga, phase=FAILED, why=why, seen="" if undo else FAILED)
        return failed if saga.phase == DOING else self._undo(failed, saga.step - (not undo))

    def _heard(self, saga: Saga[Any], event: Any) -> Saga[Any] | None:
        """An event that may say how the step ended."""
        step = self._steps[saga.step]
        if isinstance(event, _types(step.failed)):
            return self._fail(saga, type(event).__name__, undo=False)
        if isinstance(event, _types(step.done)):
            if saga.phase == WAITING:
                return self._do(saga, saga.step + 1)
            if saga.phase == DOING:
                return msgspec.structs.replace(saga, seen=WAITING)
        return saga

    def _do(self, saga: Saga[Any], number: int) -> Saga[Any] | None:
        """Begin with the first step from `number` on that has something to do; None where there is none."""
        for at in range(number, len(self._steps)):
            if _asked(self._steps[at].do, saga):
                return msgspec.structs.replace(saga, step=at, phase=DOING, seen="", sends="do")
        return None

    def _undo(self, saga: Saga[Any], number: int) -> Saga[Any] | None:
        """Undo the last step down from `number` that has something to undo; None where there is none."""
        for at in range(number, -1, -1):
            step = self._steps[at]
            if _asked(step.do, saga) and _asked(step.undo, saga):
                return msgspec.structs.replace(saga, step=at, phase=UNDOING, seen="", sends="undo")
        return None


def _asked(function: Callable[[Any], Send | None] | None, saga: Saga[Any]) -> Send | None:
    return None if function is None else function(saga.event)
