"""What an invariant gets to see, and the invariants that hold for every app."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from foldlog import limits
from foldlog.flow import deadletter
from foldlog.flow.deadletter import Letter
from foldlog.flow.view import View
from foldlog.model.decider import Decider
from foldlog.model.message import Receipt, Recorded
from foldlog.model.process import Process
from foldlog.model.projection import Projection
from foldlog.model.query import Query
from foldlog.model.shape import same
from foldlog.ports.store import Range, Row, RowKey, Store
from foldlog.system import System
from foldlog.testing.simulation.instances import Instances, check
from foldlog.testing.simulation.story import Sent
from foldlog.testing.simulation.trace import without_addresses

W = TypeVar("W")
R = TypeVar("R")


class Seen(Generic[W]):
    """A quiet point of a run: every function has seen all there is, and nothing is under way.

    `events` is the whole log, `sent` the commands of the story so far with what came of them, `dead_letters` what
    functions gave up on, `world` what the handlers act on.
    """

    def __init__(
        self, world: W, system: System, events: list[Recorded[Any]], sent: Sequence[Sent], letters: list[Letter]
    ) -> None:
        self.world, self.events, self.sent, self.dead_letters = world, events, sent, letters
        self._system = system
        self._rows: dict[str, dict[RowKey, Row]] = {}
        self._instances = Instances()

    def of(self, *types: type) -> list[Any]:
        """The events of these types, decoded, in the order of the log."""
        return [data for event in self.events if isinstance(data := event.data, types)]

    def rows(self, projection: Projection[R, Any], tenant: str = "") -> dict[str, R]:
        """A projection's rows by key, in order of their keys."""
        view = self._system.views[projection.name]
        found = {key.key: view.decode(row) for key, row in self.stored(view).items() if key.tenant == tenant}
        return {key: value for key, value in found.items() if value is not None}

    def state(self, decider: Decider[Any, Any, Any], key: str, tenant: str = "") -> Any:
        """The state of one entity: the fold of its stream."""
        decision = self._system.decisions[decider.category]
        stream = f"{decider.category}-{key}"
        mine = [one for one in self.events if one.stream == stream and one.tenant == tenant]
        return decision.fold(decider.initial, mine)

    def instances(self, process: Process[Any, Any], tenant: str = "") -> dict[str, Any]:
        """The states of a process's instances by key, in order of their keys; those that have ended are not there."""
        orchestration = self._system.processes[process.name]
        stored = sorted(self._instances.stored[orchestration.name].items())
        return {key.key: orchestration.read(one) for key, one in stored if key.tenant == tenant}

    def check(self) -> None:
        """Errors: `AssertionError` where a process is not what the log makes of it."""
        for process in self._system.processes.values():
            parked = {RowKey(one.tenant, one.key) for one in self.dead_letters if one.function == process.name}
            check(process, self._instances, self.events, parked)

    def views(self) -> list[View]:
        """The app's projections."""
        return list(self._system.views.values())

    def stored(self, view: View) -> dict[RowKey, Row]:
        """A projection's rows as they are stored."""
        return self._rows[view.name]

    async def look(self, store: Store) -> None:
        """Read all rows."""
        tenants = sorted({event.tenant for event in self.events})
        await self._instances.look(store, list(self._system.processes.values()), tenants)
        for view in self.views():
            rows = self._rows[view.name] = {}
            for tenant in tenants:
                after: Row | None = None
                more = True
                while more:
                    page, more = await store.scan(view.table, Range(tenant, after=after, limit=limits.FIND_MAX))
                    rows.update((row.key, row) for row in page)
                    after = page[-1] if page else after


async def look(system: System, store: Store, world: W, sent: Sequence[Sent]) -> Seen[W]:
    """All there is to see now. Used at quiet points only."""
    events: list[Recorded[Any]] = []
    more = True
    while more:
        page = await store.read(Query(), events[-1].position if events else 0, limits.PAGE_MAX)
        events += page.events
        more = page.more
    letters = await deadletter.dead_letters(store, limit=limits.FIND_MAX)
    seen = Seen(world, system, events, sent, letters)
    await seen.look(store)
    return seen


def rows_equal_a_fresh_fold(seen: Seen[Any]) -> None:
    """Each row is what a fold of the whole log gives; those of parked keys are known to be stale."""
    for view in seen.views():
        parked = {RowKey(one.tenant, one.key) for one in seen.dead_letters if one.function == view.name}
        if any(not key.key for key in parked):
            continue  # an event whose row cannot be told: any row may lack it
        fresh = _fold(view, seen.events)
        for key in dict.fromkeys([*fresh, *seen.stored(view)]):
            found = view.decode(seen.stored(view).get(key))
            if key not in parked and not same(found, fresh.get(key)):
                raise AssertionError(
                    f"{view.projection!r}, row {key.key!r}: stored {found!r}, a fresh fold gives {fresh.get(key)!r}"
                )


def _fold(view: View, events: Sequence[Recorded[Any]]) -> dict[RowKey, Any]:
    fold, recorded = view.projection.fold, view.takes.recorded
    fresh: dict[RowKey, Any] = {}
    for event in events:
        if not view.concerns(event):
            continue
        own = RowKey(event.tenant, event.key if view.projection.key is None else "")
        try:
            data = event.data if not recorded or view.projection.key is not None else None
            keys = view.keys(event, data)
        except Exception as error:
            fresh[own] = error  # such a row is parked, or the comparison says why it should be
            continue
        for key in keys:
            if isinstance(fresh.get(key), Exception):
                continue
            try:
                fresh[key] = fold(fresh.get(key), event if recorded else data)
            except Exception as error:
                fresh[key] = error
    return {
        key: row if row is None or isinstance(row, Exception) else view.codec.encode(row)[1]
        for key, row in fresh.items()
    }


def processes_equal_a_fresh_fold(seen: Seen[Any]) -> None:
    """Each instance, and each timer, is what a fold of the whole log gives; each command was carried out once."""
    seen.check()


def each_command_took_effect_once(seen: Seen[Any]) -> None:
    """What was acknowledged stands in the log, each command's events once; of a refused command there is nothing."""
    made: dict[str, list[Recorded[Any]]] = defaultdict(list)
    for event in seen.events:
        made[event.meta.command].append(event)
    for sent in seen.sent:
        events = made.get(sent.command_id, [])
        if [one.meta.index for one in events] != list(range(len(events))):
            raise AssertionError(f"{sent!r} took effect more than once: {[one.position for one in events]}")
        receipt = sent.receipt
        if receipt is not None and [one.version for one in events] != _versions(receipt):
            raise AssertionError(f"{sent!r} was acknowledged, and the log holds {len(events)} events of it")
        if sent.refused and events:
            raise AssertionError(f"{sent!r} was refused, and the log holds {len(events)} events of it")


def repeated_commands_are_answered_alike(seen: Seen[Any]) -> None:
    """Whoever sends a command again with its id hears what was answered the first time."""
    for sent in seen.sent:
        heard = {one if isinstance(one, str) else (one.version, len(one.events)) for one in sent.answers}
        if len(heard) > 1:
            raise AssertionError(f"{sent!r} was answered in different ways: {sorted(map(repr, heard))}")


def no_command_fails(seen: Seen[Any]) -> None:
    """A decider accepts or refuses; any other exception is a fault."""
    for sent in seen.sent:
        if sent.error is not None:
            raise AssertionError(f"{sent!r}: write Rejected for a no") from sent.error


def _versions(receipt: Receipt) -> list[int]:
    return list(range(receipt.version - len(receipt.events) + 1, receipt.version + 1))


class Broken(NamedTuple):
    """An invariant that did not hold: its name, and what it said."""

    invariant: str
    said: str


ALWAYS: list[Callable[[Seen[Any]], object]] = [
    no_command_fails,
    each_command_took_effect_once,
    repeated_commands_are_answered_alike,
    rows_equal_a_fresh_fold,
    processes_equal_a_fresh_fold,
]


def judge(seen: Seen[W], invariants: Sequence[Callable[[Seen[W]], object]]) -> Broken | None:
    """The first of these that does not hold, by an exception or by the answer False."""
    for invariant in invariants:
        name = getattr(invariant, "__name__", repr(invariant))
        try:
            if invariant(seen) is False:
                return Broken(name, "it answered False")
        except Exception as error:
            return Broken(name, without_addresses(f"{type(error).__name__}: {error}"))
    return None
