"""Processes: events folded into states by key, and what is to follow from them; all of it rows of one commit.

An attempt is pure but for reading the states: the lanes commit what it came to together with the event's mark. What
became of a command, a timer that rang and an operator's word come back as events of the process's own stream.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Corrupt, Invalid, Misconfigured, Refused, Rejected, TooLarge, Undecodable
from foldlog.flow import outbox
from foldlog.flow.effect import Call, Effect, Outcome
from foldlog.flow.inbox import Command, Item, told
from foldlog.flow.partition import partition_of
from foldlog.flow.timers import NEVER, TIMERS, Alarm, alarm_key
from foldlog.model.answer import Answered, answered, refusal
from foldlog.model.event import ACCEPTED, ANSWERS, OWN, REJECTED
from foldlog.model.message import Draft, Meta, Recorded, Send, encode_meta, event_id
from foldlog.model.process import Accepted, Answer, Cancel, Cancelled, Process, Timer, answers
from foldlog.model.schema import Schemas, State
from foldlog.model.signature import Takes, hints, keyed_by_envelope, taken
from foldlog.model.stream import ANY, check_text, stream_of
from foldlog.ports.store import Append, Delete, Put, Row, RowChange, RowKey, Table


class Pending(msgspec.Struct, frozen=True):
    """A timer that an instance waits for: its id, and when it is due (microseconds since 1970)."""

    id: str
    due: int


class Instance(msgspec.Struct, frozen=True, omit_defaults=True):
    """One instance of a process, as its row keeps it: its state under the version of the state's shape, its timers by
    name, how many events it has taken, when it began and last changed (microseconds since 1970)."""

    state: msgspec.Raw
    version: int = 1
    timers: dict[str, Pending] = {}
    steps: int = 0
    began: int = 0
    changed: int = 0


class Step(NamedTuple):
    """What one event came to: the instance afterwards (None: there is none), its state, what it answered, the
    timers that were set. `passed`: nothing came of it, because its timer had been cancelled or moved."""

    instance: Instance | None
    state: Any
    answers: Sequence[Answer] = ()
    alarms: Sequence[Alarm] = ()
    passed: bool = False


_decoder = msgspec.json.Decoder(Instance)
_ANSWERS = frozenset((Accepted, Rejected))


def table_of(process: str) -> Table:
    """The table of a process's instances, by tenant and key."""
    return Table(f"process.{process}")


def decode(row: Row) -> Instance:
    """The instance in a row."""
    return _decoder.decode(row.value)


class Orchestration(Effect):
    """A process with its types resolved."""

    page = limits.PROCESS_PAGE
    timed = True

    def __init__(self, process: Process[Any, Any]) -> None:
        what = f"process {process.name!r}"
        self.evolves = _taken(process.evolve, 1, what, process.on)
        self.reacts = _taken(process.react, 0, what, process.on)
        types = dict.fromkeys([*self.evolves.types, *self.reacts.types, Cancelled])
        super().__init__(process, "process", Takes(tuple(types), recorded=False))
        self.process = process
        self.table = table_of(process.name)
        self._first: bytes | None = None
        self._by_envelope = process.key is not None and keyed_by_envelope(process.key, what)
        found = process.state if process.state is not None else hints(process.evolve, what).get("return")
        if found is None:
            raise Misconfigured(f"{what}: annotate what evolve returns, or write state=: it is the type of its state")
        self.state = State(process.name, process.version, found, limits.ROW_BYTES)

    def bind(self, schemas: Schemas) -> None:
        """Learn the stored names of the events that concern it, and how its states are stored. Errors: `Misconfigured`
        for an initial state that cannot be."""
        super().bind(schemas)
        initial = self.process.initial
        try:
            self._first = None if initial is None else schemas.encode_state(self.process.name, initial)
        except Refused as error:
            raise Misconfigured(f"{self.what}: its initial state: {error.message}") from error

    def own_keys(self, event: Recorded[Any]) -> Sequence[str]:
        """The instances that an event is for; what the process's `key` fails with is raised."""
        if event.category == self.process.name:
            return (event.key,)
        if event.type.startswith(OWN):
            return ()  # what came back to another process
        key = self.process.key
        if key is None:
            return (event.key,)
        found = key(event if self._by_envelope else event.data)
        several = (found,) if isinstance(found, str) else tuple(dict.fromkeys(found or ()))
        if isinstance(found, AbstractSet):
            several = tuple(sorted(several))  # a set has another order in each process, and items go by their number
        if len(several) > limits.INSTANCES:
            raise TooLarge(f"{self.what}: one event is for {len(several)} instances, at most {limits.INSTANCES}")
        return [check_text("process key", one, limits.KEY_BYTES) for one in several]

    async def attempt(self, call: Call) -> list[Outcome] | Outcome:
        """Fold events, each into its instance, in order. A fold that fails is not tried again by itself."""
        places = [RowKey(item.tenant, item.key) for item in call.items]
        rows = await call.store.get(self.table, list(dict.fromkeys(places)))
        held: dict[RowKey, Instance | None] = {}
        outcomes: list[Outcome] = []
        for event, item, place in zip(call.events, call.items, places, strict=True):
            try:
                if place not in held:
                    held[place] = decode(rows[place]) if place in rows else None
                step = self.step(held[place], event, item.key, item.index)
                outcomes.append(self._outcome(held[place], step, place))
                held[place] = step.instance
            except Exception as error:
                if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
                    raise
                outcomes.append(Outcome(error=told(error), never=True))
        return outcomes

    def step(self, before: Instance | None, event: Recorded[Any], key: str, index: int = 0) -> Step:
        """What an event makes of an instance: pure. `index` is that of its item: ids of timers derive from it.

        Errors: whatever the process's functions raise; `Invalid` for an answer that cannot be.
        """
        timers = dict(before.timers) if before else {}
        if not self._rings(event, key, timers):
            return Step(before, None, passed=True)
        data = event.data
        state, evolved = self._evolve(before, event, data)
        body = self.schemas.encode_state(self.process.name, state)
        found = self._react(event, data, state)
        alarms = self._alarms(found, event, key, index)
        for one in found:
            if isinstance(one, Cancel):
                timers.pop(one.name, None)
        timers.update((one.name, Pending(one.id, one.due)) for one in alarms)
        if len(timers) > limits.TIMERS:
            raise TooLarge(f"{self.what}: {key!r} would have {len(timers)} timers, at most {limits.TIMERS}")
        if state is None or not (evolved or before):
            if alarms:
                raise Invalid(
                    f"{self.what} sets the timer {alarms[0].name!r} for {key!r}, which has no instance: evolve must "
                    "return a state that is not None"
                )
            return Step(None, state, found)
        began, steps = (before.began, before.steps + 1) if before else (event.time, 1)
        after = Instance(msgspec.Raw(body), self.process.version, timers, steps, began, event.time)
        return Step(after, state, found, alarms)

    def _rings(self, event: Recorded[Any], key: str, timers: dict[str, Pending]) -> bool:
        """Whether an event is to be taken; the timer that it is goes. One that was cancelled or moved is passed over.

        Errors: `Invalid` for an event of another instance, as its key is told today.
        """
        if event.category != self.process.name:
            if key not in (keys := self.own_keys(event)):
                now = ", ".join(keys) or "none"
                raise Invalid(f"{self.what}: this event was taken for {key!r}, and its key is {now} now")
            return True
        if event.type in ANSWERS:
            return True
        rang = next((name for name, one in timers.items() if one.id == event.meta.command), None)
        return rang is not None and timers.pop(rang) is not None

    def _evolve(self, before: Instance | None, event: Recorded[Any], data: Any) -> tuple[Any, bool]:
        """The state after an event, and whether it was asked for."""
        state = self._initial() if before is None else self.read(before)
        if type(data) in self.evolves.types:
            return self.process.evolve(state, event if self.evolves.recorded else data), True
        return (None, True) if isinstance(data, Cancelled) else (state, False)

    def _react(self, event: Recorded[Any], data: Any, state: Any) -> Sequence[Answer]:
        if type(data) not in self.reacts.types:
            return ()
        return answers(self.process.react(event if self.reacts.recorded else data, state), self.what)

    def read(self, instance: Instance) -> Any:
        """An instance's state. Errors: `Undecodable`."""
        return self.schemas.decode_state(self.process.name, instance.version, bytes(instance.state))

    def _initial(self) -> Any:
        """A value of its own for each instance: whoever changes it in place changes no other's."""
        if self._first is None:
            return None
        return self.schemas.decode_state(self.process.name, self.process.version, self._first)

    def stored(self, send: Send) -> Command:
        """A command as it stands in the outbox. Errors: `Invalid`; `TooLarge`, also where its answer would be."""
        command = super().stored(send)
        size = len(bytes(command.body))
        if size > limits.ANSWERED_BYTES and not _ANSWERS.isdisjoint(self.takes.types):
            raise TooLarge(
                f"{self.what} sends {command.name!r} of {size:,} bytes, at most {limits.ANSWERED_BYTES:,} where it "
                "hears what became of it, since the answer carries the command: keep what is large in a blob store"
            )
        return command

    def answered(self, item: Item, refused: Rejected | None) -> Append | None:
        """What is recorded of a command for a process that takes it. Errors: `Invalid`."""
        command, mark = item.command, ACCEPTED if refused is None else REJECTED
        if command is None or (Accepted if refused is None else Rejected) not in self.takes.types:
            return None
        found = Answered(command.decider, command.key, command.name, command.version, command.body)
        body = answered(found if refused is None else refusal(found, refused))
        meta = Meta(outbox.command_id(item), 0, item.correlation, item.event_id, item.actor)
        draft = Draft(mark.name, mark.version, body, encode_meta(meta))
        return Append(stream_of(self.process.name, item.key), (draft,), ANY, item.tenant)

    def _outcome(self, before: Instance | None, step: Step, place: RowKey) -> Outcome:
        if step.passed:
            return Outcome()
        commands = tuple([self.stored(one) for one in step.answers if isinstance(one, Send)])
        if sum(len(bytes(command.body)) for command in commands) > limits.SENDS_BYTES:
            raise TooLarge(f"{self.what} answered commands of over {limits.SENDS_BYTES:,} bytes")
        after, partition = step.instance, partition_of(*place)
        kept = {one.id for one in after.timers.values()} if after else set()
        gone = [one.id for one in (before.timers.values() if before else ()) if one.id not in kept]
        rows: list[RowChange] = [Delete(TIMERS, alarm_key(self.name, partition, one)) for one in gone]
        rows += [alarm.put() for alarm in step.alarms]
        if after is not None:
            rows.append(Put(self.table, place, msgspec.json.encode(after)))
        elif before is not None:
            rows.append(Delete(self.table, place))
        return Outcome(commands, rows=tuple(rows), rings=min([one.due for one in step.alarms], default=NEVER))

    def _alarms(self, answer: Sequence[Answer], event: Recorded[Any], key: str, index: int) -> list[Alarm]:
        """The timers as they are stored. Their numbers count on behind the commands of the same answer."""
        stream, meta, found = stream_of(self.process.name, key), event.meta, list[Alarm]()
        timers = [one for one in answer if isinstance(one, Timer)]
        sends = sum(isinstance(one, Send) for one in answer)
        for number, timer in enumerate(timers, index + sends + 1):
            mark, body, again = self.schemas.encode(timer.event)
            if type(timer.event) not in self.takes.types or mark.name in ANSWERS:
                raise Invalid(f"{self.what}: timer {timer.name!r} carries {mark.name!r}, which it does not take back")
            found.append(
                Alarm(
                    function=self.name,
                    partition=partition_of(event.tenant, key),
                    id=event_id(event.tenant, self.name, event.id, number),
                    name=timer.name,
                    due=timer.due(event.time),
                    stream=stream,
                    type=mark.name,
                    schema=mark.version,
                    body=msgspec.Raw(body),
                    tenant=event.tenant,
                    tags=self.schemas.tags(mark, again),
                    correlation=meta.correlation,
                    causation=event.id,
                    actor=meta.actor,
                )
            )
        return found


def _taken(function: Callable[..., Any], index: int, what: str, on: Any) -> Takes:
    found = taken(function, index, what, "event", on)
    if not found.types:
        raise Misconfigured(f"{what}: name the events it takes: it cannot follow all of them, its own included")
    return found
