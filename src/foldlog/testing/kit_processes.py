"""given/when/then for processes; `given` of kit.py leads here."""

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured, Rejected
from foldlog.flow.orchestrate import Instance, Orchestration
from foldlog.flow.timers import Alarm
from foldlog.model.event import ANSWERS, stored
from foldlog.model.message import Recorded, Send, encode_meta
from foldlog.model.process import Accepted, Answer, Cancel, Process, Timer
from foldlog.model.schema import Schemas
from foldlog.model.stream import stream_of
from foldlog.system import Resolved
from foldlog.testing.difference import compare
from foldlog.testing.surroundings import Record, Surroundings, named, survivor

S = TypeVar("S")
E = TypeVar("E")


class GivenProcess(Generic[S, E]):
    """A process and what has come to it."""

    def __init__(self, process: Process[S, E], around: Surroundings, events: Sequence[Any]) -> None:
        self._process, self._around, self._events = process, around, events

    def when(self, event: E) -> "ProcessAnswer[S]":
        """One event more. A timer's event rings the timer that carries it, where one is set; what came of a command is
        `Accepted(command)` or `Rejected(code, command=command)`. Exceptions go through to the test."""
        run = _Run(self._process, self._around, [*self._events, event])
        for before in self._events:
            run.take(before)
        found = run.take(event)
        return ProcessAnswer(self._process, found, run.states())


class ProcessAnswer(Generic[S]):
    """What a process answered, and the states of its instances afterwards."""

    def __init__(self, process: Process[S, Any], answers: Sequence[Answer], states: dict[str, S | None]) -> None:
        self._process, self._answers, self._states = process, answers, states

    def then(self, *expected: Answer) -> None:
        """It answers these commands, timers and cancellations, and no others."""
        __tracebackhide__ = True
        if not expected:
            raise TypeError("then() expects Send, Timer or Cancel; where nothing is expected, write then_nothing()")
        found, wanted = ([_survivor(self._process, one) for one in some] for some in (self._answers, expected))
        compare(f"{self._process!r} answered otherwise", found, wanted)

    def then_nothing(self) -> None:
        """It answers nothing."""
        __tracebackhide__ = True
        compare(f"{self._process!r} answered otherwise", self._answers, [])

    def then_state(self, state: S | None, *, key: str | None = None) -> None:
        """The instance's state is this one; None where it has ended, or there is none. `key` names one of several."""
        __tracebackhide__ = True
        if key is None and len(self._states) > 1:
            keys = ", ".join(map(repr, self._states))
            raise TypeError(f"{self._process!r} has the instances {keys}: name one, then_state(state, key=...)")
        found = next(iter(self._states.values()), None) if key is None else self._states.get(key)
        compare(f"{self._process!r} is in another state", [found], [state])


class _Run:
    """Folds events as the runtime does, and rings the timers that are set."""

    def __init__(self, process: Process[Any, Any], around: Surroundings, events: Iterable[Any]) -> None:
        answered = [one.command for one in events if isinstance(one, Accepted | Rejected)]
        resolved = Resolved([process], commands=[type(one) for one in answered])
        if resolved.faults:
            raise Misconfigured("; ".join(resolved.faults))
        self._orchestration: Orchestration = resolved.processes[process.name]
        self._record = Record(resolved.schemas(), repr(process), "given", around)
        self._held: dict[str, Instance | None] = {}
        self._set: dict[str, Alarm] = {}
        self._key = around.key

    def take(self, event: Any) -> list[Answer]:
        recorded = self._recorded(event)
        found: list[Answer] = []
        for number, key in enumerate(self._orchestration.own_keys(recorded)):
            self._key = key
            step = self._orchestration.step(self._held.get(key), recorded, key, number * limits.KEY_STRIDE)
            if step.passed:
                raise Invalid(f"{self._orchestration.what}: no timer of {key!r} carries {event!r}")
            self._held[key] = step.instance
            self._set.update((one.id, one) for one in step.alarms)
            found += step.answers
        return found

    def states(self) -> dict[str, Any]:
        return {key: None if one is None else self._orchestration.read(one) for key, one in self._held.items()}

    def _recorded(self, event: Any) -> Recorded[Any]:
        recorded = self._record(event)
        key, rings = self._key, ""
        for instance, held in self._held.items():
            for one in held.timers.values() if held else ():
                alarm = self._set[one.id]
                if (alarm.type, bytes(alarm.body)) == (recorded.type, recorded.body):
                    key, rings = instance, one.id
        if not rings and recorded.type not in ANSWERS:
            return recorded
        process = self._orchestration.process
        meta = msgspec.structs.replace(recorded.meta, **({"command": rings} if rings else {}))
        kind = self._record.schemas.kind(process.name, recorded.type, recorded.schema, "json")
        stream = stream_of(process.name, key)
        return msgspec.structs.replace(recorded, stream=stream, kind=kind, raw_meta=encode_meta(meta))


def _survivor(process: Process[Any, Any], answer: Answer) -> Answer:
    """The answer with what it carries as it will be once it was stored."""
    if isinstance(answer, Cancel):
        return answer
    inside = answer.command if isinstance(answer, Send) else answer.event
    mark, kind = stored(type(inside)), "command" if isinstance(answer, Send) else "event"
    if mark is None or mark.kind != kind:
        raise Invalid(f"{process!r} answers with {named(inside)}, which is no {kind}: write @{kind}('a.name') above it")
    types = (type(inside),)
    again = survivor(Schemas((), types, ()) if isinstance(answer, Send) else Schemas(types, (), ()), inside)
    if isinstance(answer, Send):
        stream_of(answer.decider, answer.key)
        return Send(answer.decider, answer.key, again, insist=answer.insist)
    return Timer(answer.name, again, answer.after, answer.at)
