"""Pages folded into rows: rows and checkpoint in one commit, so that each event counts exactly once."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.errors import Corrupt, TooLarge, Undecodable
from foldlog.flow import inbox
from foldlog.flow.lease import Lease
from foldlog.flow.stale import mark
from foldlog.flow.subscribe import Fed
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.model.message import Draft, Recorded
from foldlog.model.query import Query
from foldlog.ports.store import Delete, Put, RowChange, RowKey, Store

log = logging.getLogger("foldlog.project")


async def inline_changes(
    store: Store,
    views: Iterable[View],
    tenant: str,
    stream: str,
    version: int,
    events: Sequence[Any],
    drafts: Sequence[Draft],
) -> list[RowChange]:
    """The rows of inline views after `events`, guarded by their versions, for the commit that appends the events.

    A row that lags behind the stream (events imported, or older than the view) first takes what it has missed. An
    exception of the fold goes to the sender, and nothing is stored.
    """
    changes: list[RowChange] = []
    new_version = version + len(drafts)
    for view in views:
        types = view.takes.types
        wanted = [(number, event) for number, event in enumerate(events, version + 1) if type(event) in types]
        if not wanted:
            continue
        key = RowKey(tenant, stream.partition("-")[2])
        row = (await store.get(view.table, [key])).get(key)
        value, at = view.decode(row), row.position if row else 0
        fold = view.projection.fold
        while at < version:
            page = await store.read(Query(stream=stream, tenant=tenant), at, limits.PAGE_MAX)
            for missed in page.events:
                if view.concerns(missed) and missed.version <= version:
                    value = fold(value, missed.data)
            at = page.events[-1].version if page.more else version
        for _, event in wanted:
            value = fold(value, event)
        # A tombstone carries the version of the last event that it is made of: there the follower removes it.
        upto = wanted[-1][0] if value is None else new_version
        changes.append(view.change(key, value, upto, row.version if row else 0))
    return changes


class _Held:
    """A row between pages, as the only owner of its projection holds it."""

    __slots__ = ("position", "value", "version")

    def __init__(self, value: Any, position: int, version: int) -> None:
        self.value, self.position, self.version = value, position, version


class Project:
    """Folds the pages of one projection; one at a time, under a lease. A fold that fails is logged at `level`."""

    def __init__(self, store: Store, view: View, clock: Clock, lease: Lease, level: int = logging.ERROR) -> None:
        self._store, self._view, self._clock, self._lease, self._level = store, view, clock, lease, level
        self._held: dict[RowKey, _Held] = {}
        self._parked: set[RowKey] = set()
        self._letters: list[Put] = []
        self._stale: dict[RowKey, Put] = {}

    async def begin(self) -> None:
        """Forget what was held under an earlier lease; learn which keys are parked."""
        self._held.clear()
        self._parked = set()
        async for item in inbox.items(self._store, self._view.name):
            self._parked.add(RowKey(item.tenant, item.key))

    async def page(self, fed: Fed) -> None:
        """Fold a page and commit its rows with the checkpoint. Errors: `Conflict` when the lease was lost."""
        if not fed.events:
            if self._lease.overtaken(fed.upto) or self._lease.due():
                await self._lease.commit([], fed.upto)
            return
        parked = set(self._parked)
        try:
            await self._lease.commit(await self._changes(fed.events), fed.upto)
        except TooLarge as error:
            # More rows than one commit takes, and nothing was stored: half of the page, then the other half.
            self._parked = parked
            self._held.clear()
            await self._in_parts(fed, error)
        except BaseException:
            self._held.clear()
            raise

    async def note(self, position: int) -> None:
        """Commit the checkpoint alone. Errors: `Conflict` when the lease was lost."""
        await self._lease.commit([], position)

    async def _in_parts(self, fed: Fed, error: TooLarge) -> None:
        events, half = fed.events, len(fed.events) // 2
        if half:
            await self.page(Fed(events[:half], events[half - 1].position))
            await self.page(Fed(events[half:], fed.upto))
        else:
            self._letters, self._stale = [], {}
            letter = self._park(self._row_of(events[0]), events[0], error)
            await self._lease.commit([letter, *self._stale.values()], fed.upto)

    async def _changes(self, events: Sequence[Recorded[Any]]) -> list[RowChange]:
        self._letters, self._stale = [], {}
        work = self._addressed(events)
        await self._fetch(work)
        changes: dict[RowKey, RowChange] = {}
        dirty: dict[RowKey, Recorded[Any]] = {}
        view, held = self._view, self._held
        fold, recorded, inline = view.projection.fold, view.takes.recorded, view.inline
        for key, event, data, fault in work:
            if key in self._parked:
                continue
            if fault is not None:
                self._letters.append(self._park(key, event, fault))
                continue
            row = held[key]
            if inline and row.position >= event.version:
                if row.value is None and row.version and row.position == event.version:
                    changes[key] = Delete(view.table, key, row.version)
                continue
            try:
                row.value = fold(row.value, event if recorded else data)
            except Exception as error:
                self._letters.append(self._park(key, event, error))
                continue
            row.position = event.version if inline else event.position
            dirty[key] = event
        for key, event in dirty.items():
            row = held[key]
            try:
                changes[key] = view.change(key, row.value, row.position, row.version if inline else None)
            except Exception as error:
                if key not in self._parked:
                    self._letters.append(self._park(key, event, error))
                continue
            row.version += 1
        self._forget_some()
        return [*changes.values(), *self._letters, *self._stale.values()]

    def _addressed(self, events: Sequence[Recorded[Any]]) -> list["_Work"]:
        work: list[_Work] = []
        view = self._view
        decoded = not view.takes.recorded or not (view.projection.key is None or view.by_envelope)
        for event in events:
            try:
                data = event.kind.decode(event.body) if decoded else None
                keys = view.keys(event, data)
            except Exception as error:
                if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
                    raise
                work.append(
                    _Work(self._row_of(event), event, None, error)
                )  # parked in its turn: what came before it still counts
                continue
            work += [_Work(key, event, data) for key in keys]
        return work

    def _row_of(self, event: Recorded[Any]) -> RowKey:
        """The row of an event, or, where only `key` could tell, a key that no row has: any row may be stale then."""
        return RowKey(event.tenant, event.key if self._view.projection.key is None else "")

    async def _fetch(self, work: Sequence["_Work"]) -> None:
        if self._view.inline:
            self._held.clear()  # the senders write these rows too
        missing = {one.key: one.event for one in reversed(work) if one.fault is None and one.key not in self._held}
        found = await self._store.get(self._view.table, list(missing)) if missing else {}
        for key, event in missing.items():
            row = found.get(key)
            try:
                value = self._view.decode(row)
            except Undecodable as error:
                if key not in self._parked:
                    self._letters.append(self._park(key, event, error))
                continue
            self._held[key] = _Held(value, row.position if row else 0, row.version if row else 0)

    def _park(self, key: RowKey, event: Recorded[Any], error: Exception) -> Put:
        if key.key:
            self._parked.add(key)
        index = sum(letter.position == event.position for letter in self._letters)
        row_mark = mark(self._view.name, key, event.position)
        self._stale[row_mark.key] = row_mark
        log.log(
            self._level,
            "%s failed on %s@%d: %r; its row %r is parked, and stale until the projection gets a new version",
            self._view.name,
            event.stream,
            event.version,
            error,
            key.key,
            extra={"function": self._view.name, "key": key.key, "position": event.position, "error": repr(error)},
        )
        return inbox.Item(
            self._view.name,
            event.position,
            index,
            key.key,
            key.tenant,
            event.stream,
            event.version,
            event.type,
            inbox.DEAD,
            1,
            failed=self._clock.now(),
            error=inbox.told(error),
            correlation=event.meta.correlation,
            event_id=event.id,
        ).put()

    def _forget_some(self) -> None:
        if len(self._held) > limits.ROW_CACHE:
            for key in list(self._held)[: len(self._held) - limits.ROW_CACHE // 2]:
                del self._held[key]


class _Work(NamedTuple):
    key: RowKey
    event: Recorded[Any]
    data: Any
    fault: Exception | None = None
