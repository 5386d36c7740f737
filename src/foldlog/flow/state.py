"""What a decider decides on: the fold of its stream, or of what its scope finds; and the states kept in memory."""

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.errors import Invalid, Unavailable, Undecodable
from foldlog.flow.snapshot import Known, Rule, Snapshots
from foldlog.model.decider import Decider
from foldlog.model.handler import Context
from foldlog.model.message import Kind, Recorded
from foldlog.model.query import Query
from foldlog.model.signature import taken, wants
from foldlog.ports.store import Condition, Store


class Loaded(NamedTuple):
    """A state, the version of the stream it stands for, and whether it was read just now."""

    state: Any
    version: int
    fresh: bool
    condition: Condition | None = None


class _Kept(NamedTuple):
    """A state in memory, and at which version one of its stream was saved last, or tried to be."""

    state: Any
    version: int
    saved: int


class Decision:
    """A decider with its types resolved, ready to be executed. `rule` says when its states are saved; None: never."""

    def __init__(
        self,
        decider: Decider[Any, Any, Any],
        events: tuple[type, ...],
        names: frozenset[str],
        rule: Rule | None = None,
    ) -> None:
        what = f"decider {decider.category!r}"
        self.decider, self.rule = decider, rule
        self.commands = frozenset(taken(decider.decide, 0, what, "command").types)
        self.wants_context = wants(decider.decide, 2, Context, what)
        self.events = frozenset(events)
        self._names = names
        self._decoders: dict[Kind, Any] = {}

    def fold(self, state: Any, events: Sequence[Recorded[Any]]) -> Any:
        """The state after these events; events of types that this decider does not know are passed over."""
        evolve, decoders = self.decider.evolve, self._decoders
        for event in events:
            kind = event.kind
            if kind not in decoders:
                decoders[kind] = kind.decode if kind.type in self._names else None
            if (decode := decoders[kind]) is not None:
                try:
                    data = decode(event.body)
                except Undecodable:
                    data = event.data  # raises again, and says where the event stands
                try:
                    state = evolve(state, data)
                except Unavailable as error:
                    raise misused(f"evolve of {self.decider}", error) from error
        return state

    def after(self, state: Any, events: Sequence[Any]) -> Any:
        """The state after events that were just decided."""
        for event in events:
            if type(event) in self.events:
                try:
                    state = self.decider.evolve(state, event)
                except Unavailable as error:
                    raise misused(f"evolve of {self.decider}", error) from error
        return state


class States:
    """Loads states from one store and keeps those that were used last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._snapshots = Snapshots(store)

    def __len__(self) -> int:
        return len(self._kept)

    async def load(self, decision: Decision, stream: str, tenant: str, *, refresh: bool = False) -> Loaded:
        """The state of one stream: as it was kept, or with `refresh` as it is now."""
        cached = self._kept.get((tenant, stream))
        if cached and not refresh:
            self._kept.move_to_end((tenant, stream))
            return Loaded(cached.state, cached.version, False)
        state, version, saved = cached or await self._begin(decision, stream, tenant)
        query = Query(stream=stream, tenant=tenant)
        more = True
        while more:
            page = await self._store.read(query, version, limits.PAGE_MAX)
            if page.events:
                state = decision.fold(state, page.events)
                version = page.events[-1].version
            more = page.more
        self.keep(decision, tenant, stream, state, version, saved)
        return Loaded(state, version, True)

    async def _begin(self, decision: Decision, stream: str, tenant: str) -> _Kept:
        if decision.rule is not None and (found := await self._snapshots.find(decision.rule, stream, tenant)):
            return _Kept(found.state, found.version, found.version)
        return _Kept(deepcopy(decision.decider.initial), 0, 0)

    async def scoped(self, decision: Decision, command: Any, tenant: str) -> Loaded:
        """The state of what the decider's scope finds for a command, and the condition that nothing new matches.

        Its version is 0: no one stream has it. Errors: `Invalid` for a scope that is no query by types or tags.
        """
        decider = decision.decider
        if decider.scope is None:
            raise AssertionError("only deciders with a scope come here")
        try:
            query = decider.scope(command)
        except Unavailable as error:
            raise misused(f"scope of {decider}", error) from error
        sides = (query.any_of or (query,)) if isinstance(query, Query) else ()
        if not sides or not all(side.tags or side.types for side in sides) or any(_says_more(side) for side in sides):
            raise Invalid(f"scope of {decider} must return a Query by types or tags, and by nothing else")
        query = _of_tenant(query, tenant)
        state, after, head, more = deepcopy(decider.initial), 0, 0, True
        while more:
            page = await self._store.read(query, after, limits.PAGE_MAX)
            state = decision.fold(state, page.events)
            more = page.more
            after = page.events[-1].position if page.events else after
            head = max(page.head, after)
        return Loaded(state, 0, True, Condition(query, head))

    def keep(
        self, decision: Decision, tenant: str, stream: str, state: Any, version: int, saved: int | None = None
    ) -> None:
        """Remember a state, unless a newer one is known, and have it saved where its decider's rule says so.

        `saved` is the version of the stream's snapshot, None where it is the one that was last known.
        """
        known = self._kept.get((tenant, stream))
        if known is None or known.version <= version:
            saved = max(saved or 0, known.saved if known else 0)
            rule = decision.rule
            if rule and version - saved >= rule.every:
                taken = self._snapshots.offer(rule, stream, tenant, Known(state, version))
                saved = version if taken else saved
            self._kept[tenant, stream] = _Kept(state, version, saved)
            self._kept.move_to_end((tenant, stream))
            if len(self._kept) > limits.STATE_CACHE:
                self._kept.popitem(last=False)

    async def finish(self) -> None:
        """Let the snapshots that wait be saved; nothing waits afterwards."""
        await self._snapshots.finish()

    def forget(self, tenant: str, stream: str) -> None:
        """A state that must not be trusted any more."""
        self._kept.pop((tenant, stream), None)


def misused(what: str, error: Unavailable) -> RuntimeError:
    """What to raise where an app's own function says how the store is: whoever hears that waits, and it would be for
    ever, since the function does the same each time."""
    told = f"{what} raised {error!r}: only the store says so; raise Rejected, or your own"
    return RuntimeError(told).with_traceback(error.__traceback__)


def _says_more(query: Query) -> bool:
    return any(said is not None for said in (query.stream, query.category, query.since, query.until))


def _of_tenant(query: Query, tenant: str) -> Query:
    if query.any_of:
        sides = [_of_tenant(side, tenant) for side in query.any_of]
        return Query(any_of=tuple(sides), tenant=tenant)
    return Query(types=query.types, tags=query.tags, tenant=tenant)
