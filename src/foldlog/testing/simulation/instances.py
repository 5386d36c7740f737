"""What holds for every process at a quiet point: it is the fold of the log, and what it said was done once."""

from collections import Counter
from typing import Any

from foldlog import limits
from foldlog.flow.orchestrate import Instance, Orchestration, decode
from foldlog.flow.recall import Recall, Sent
from foldlog.flow.timers import TIMERS, Alarm
from foldlog.flow.timers import decode as decode_alarm
from foldlog.model.event import ACCEPTED, REJECTED
from foldlog.model.message import Recorded
from foldlog.model.process import Accepted
from foldlog.model.shape import same
from foldlog.ports.store import Range, Row, RowKey, Store, Table


class Instances:
    """The rows of processes and their timers, read at a quiet point."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[RowKey, Instance]] = {}
        self.alarms: list[Alarm] = []

    async def look(self, store: Store, processes: list[Orchestration], tenants: list[str]) -> None:
        """Read them all."""
        for process in processes:
            rows = [row for tenant in tenants for row in await _all(store, process.table, tenant)]
            self.stored[process.name] = {row.key: decode(row) for row in rows}
        self.alarms = [decode_alarm(row) for row in await _all(store, TIMERS, "")]


async def _all(store: Store, table: Table, tenant: str) -> list[Row]:
    rows: list[Row] = []
    more = True
    while more:
        page, more = await store.scan(table, Range(tenant, after=rows[-1] if rows else None, limit=limits.FIND_MAX))
        rows += page
    return rows


def check(process: Orchestration, instances: Instances, events: list[Recorded[Any]], parked: set[RowKey]) -> None:
    """Errors: `AssertionError` where a process is not what the log makes of it; `parked` keys wait for an operator."""
    recall, sent = Recall(process), list[tuple[RowKey, Sent]]()
    answers: Counter[str] = Counter()
    for event in events:
        sent += [(taken.place, one) for taken in recall.take(event) for one in taken.sent]
        if event.category == process.process.name and event.type in {ACCEPTED.name, REJECTED.name}:
            answers[event.meta.command] += 1
    stored = instances.stored[process.name]
    for place in {*stored, *recall.held} - parked - recall.parked:
        _same(process, place, stored.get(place), recall.held.get(place))
    _alarms(process, instances, recall, parked)
    for place, one in sent:
        if answers[one.id] > 1:
            raise AssertionError(f"{process.what}: the command {one.send!r} of {place.key!r} took effect twice")
        if answers[one.id] == 0 and Accepted in process.takes.types and place not in parked:
            raise AssertionError(f"{process.what}: nothing is known of the command {one.send!r} of {place.key!r}")
    if strangers := answers.keys() - {one.id for _, one in sent}:
        raise AssertionError(f"{process.what}: commands were sent that no event asks for: {sorted(strangers)}")


def _same(process: Orchestration, place: RowKey, found: Instance | None, fresh: Instance | None) -> None:
    told = [None if one is None else (process.read(one), one.steps, one.timers) for one in (found, fresh)]
    if not same(told[0], told[1]):
        raise AssertionError(f"{process.what}, {place.key!r}: stored {told[0]!r}, a fresh fold gives {told[1]!r}")


def _alarms(process: Orchestration, instances: Instances, recall: Recall, parked: set[RowKey]) -> None:
    """Each timer that an instance waits for is there, and no other: one that rang has left its event."""
    rows = {one.id: one for one in instances.alarms if one.function == process.name}
    wanted = {
        one.id: place for place, held in recall.held.items() if place not in parked for one in held.timers.values()
    }
    if missing := sorted(wanted.keys() - rows.keys()):
        raise AssertionError(f"{process.what}: timers of {wanted[missing[0]].key!r} are gone")
    keys = {place.key for place in parked | recall.parked}
    odd = [one for one in rows.values() if one.id not in wanted and one.stream.partition("-")[2] not in keys]
    if odd:
        raise AssertionError(f"{process.what}: the timer {odd[0].name!r} of {odd[0].stream} belongs to nobody")
