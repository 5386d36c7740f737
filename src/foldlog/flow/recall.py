"""What instances of a process went through, folded again from the log.

All that comes to a process stands in the log, in the order in which it came, so the same fold gives the same states,
the same commands and timers under the same ids: what is stored can be compared with it, and shown.
"""

from typing import Any, NamedTuple

from foldlog import limits
from foldlog.flow.orchestrate import Instance, Orchestration, Step
from foldlog.model.message import Recorded, Send, event_id
from foldlog.ports.store import RowKey


class Sent(NamedTuple):
    """A command that a step answered with, its id, and the index (`number`) of its outbox row."""

    send: Send
    id: str
    number: int


class Taken(NamedTuple):
    """One event as it came to one instance, and what it came to; the exception where the fold failed on it."""

    place: RowKey
    event: Recorded[Any]
    number: int
    step: Step | None
    sent: tuple[Sent, ...] = ()
    fault: Exception | None = None


class Recall:
    """Folds events in the order of the log. An instance whose fold has failed takes nothing more, unless `skipping`
    says that the log goes on without that event."""

    def __init__(self, orchestration: Orchestration, *, skipping: bool = False) -> None:
        self._orchestration, self._skipping = orchestration, skipping
        self.held: dict[RowKey, Instance] = {}
        self.parked: set[RowKey] = set()

    def take(self, event: Recorded[Any], only: RowKey | None = None) -> list[Taken]:
        """What an event comes to for each instance that it is for, or for one of them."""
        found: list[Taken] = []
        if event.type not in self._orchestration.query.types:
            return found
        for number, key in enumerate(self._orchestration.keys(event)):
            place = RowKey(event.tenant, key)
            if place not in self.parked and only in {None, place}:
                found.append(self._step(place, event, number * limits.KEY_STRIDE))
        return found

    def _step(self, place: RowKey, event: Recorded[Any], index: int) -> Taken:
        orchestration = self._orchestration
        try:
            step = orchestration.step(self.held.get(place), event, place.key, index)
        except Exception as error:
            if not self._skipping:
                self.parked.add(place)
            return Taken(place, event, index, None, fault=error)
        if not step.passed:
            self.held.pop(place, None)
            if step.instance is not None:
                self.held[place] = step.instance
        sends = [one for one in step.answers if isinstance(one, Send)]
        return Taken(
            place,
            event,
            index,
            step,
            tuple(
                Sent(send, event_id(event.tenant, orchestration.name, event.id, at), at)
                for at, send in enumerate(sends, index + 1)
            ),
        )
