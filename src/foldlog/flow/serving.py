"""Which version of a view is read: one row a view points to it, one row a version says what is known of it.

A new version is built beside the one that is read. The switch, and taking it back, are one conditional put of the
pointer; every process looks at it again after `limits.SERVED` seconds at most.
"""

import logging
import sys
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Conflict, Invalid, Misconfigured, NotFound, TooLarge, Unavailable
from foldlog.flow.lease import checkpoint
from foldlog.flow.view import View
from foldlog.model.clock import Clock
from foldlog.model.fingerprint import fingerprint
from foldlog.model.projection import Projection, table_name
from foldlog.ports.store import Batch, Check, Put, Range, Row, RowChange, RowKey, Store, Table

log = logging.getLogger("foldlog.serving")

VIEWS = Table("views")


class Served(msgspec.Struct, frozen=True):
    """The pointer: the version that is read, and the one before it (0: there is none to go back to)."""

    current: int
    before: int = 0


class Version(msgspec.Struct, frozen=True):
    """What is known of one version of a view.

    `built`: it has come to the safe head once. `served`: it has been read, so it does not switch by itself again.
    `dropping`: its table is on its way out. `rate` is positions a second when last `measured` (microseconds since
    1970).
    """

    version: int
    indexes: tuple[str, ...] = ()
    inline: bool = False
    fingerprint: str = ""
    built: bool = False
    served: bool = False
    dropping: bool = False
    rate: float = 0.0
    measured: int = 0

    def table(self, name: str) -> Table:
        """Its rows."""
        return Table(table_name(name, self.version), self.indexes)


class BuildProgress(NamedTuple):
    """How far a version has come: its checkpoint, the safe head, and seconds until it is there (None: not known)."""

    position: int
    head: int
    rate: float
    eta: float | None

    @property
    def behind(self) -> int:
        """Positions between the checkpoint and the safe head."""
        return max(0, self.head - self.position)

    @property
    def percent(self) -> float:
        """Rounded down, so that 100 means done."""
        return int(1000 * min(self.position, self.head) / self.head) / 10 if self.head else 100.0

    def __str__(self) -> str:
        eta = "" if self.eta is None else f", about {self.eta:,.0f} s left"
        return f"{self.percent} % built{eta}"


class Source(NamedTuple):
    """The table that a view is read from, of which version, and whether that one's rows are inline."""

    table: Table
    version: int
    inline: bool


async def pointer(store: Store, name: str) -> tuple[Served | None, int]:
    """A view's pointer and its row's version; (None, 0) where no version was ever seen."""
    row = await _row(store, name)
    return (msgspec.json.decode(row.value, type=Served), row.version) if row else (None, 0)


async def find_version(store: Store, name: str, version: int) -> tuple[Version | None, int]:
    """What is known of a version, and its row's version."""
    row = await _row(store, f"{name}/{version}")
    return (msgspec.json.decode(row.value, type=Version), row.version) if row else (None, 0)


async def known_version(store: Store, name: str, version: int) -> tuple[Version, int]:
    """As `find_version`. Errors: `NotFound`, naming those that there are."""
    found, row = await find_version(store, name, version)
    if found is None:
        known = ", ".join(str(one.version) for one in await versions(store, name))
        raise NotFound(f"view {name!r} has no version {version} in this store; there: {known or 'none'}")
    return found, row


async def versions(store: Store, name: str) -> list[Version]:
    """All known versions of a view, the lowest first."""
    found: list[Version] = []
    after: Row | None = None
    more = True
    while more:
        span = Range(low=f"{name}/", high=f"{name}/~", after=after, limit=limits.FIND_MAX)
        rows, more = await store.scan(VIEWS, span)
        found += [msgspec.json.decode(row.value, type=Version) for row in rows]
        after = rows[-1] if rows else None
    return sorted(found, key=lambda one: one.version)


async def progress(store: Store, name: str, version: int, folded: int = 0) -> BuildProgress:
    """How far a version has come; with a rate and an ETA while somebody builds it. `folded`: how far this process knows
    that it has, though not all of it is stored."""
    found, _ = await find_version(store, name, version)
    held = await checkpoint(store, table_name(name, version))
    head = await store.head()
    position = max(folded, held.position if held else 0)
    rate = found.rate if found and held and held.owner else 0.0
    left = max(0, head - position)
    return BuildProgress(position, head, rate, left / rate if rate > 0 and left else None)


def version_put(name: str, found: Version, if_version: int) -> Put:
    """The row that keeps what is known of a version."""
    return Put(VIEWS, _key(f"{name}/{found.version}"), msgspec.json.encode(found), if_version)


def pointer_put(name: str, served: Served, if_version: int) -> Put:
    """The row that says which version is read."""
    return Put(VIEWS, _key(name), msgspec.json.encode(served), if_version)


def fold_mark(projection: Projection[Any, Any]) -> str:
    """The fingerprint of the fold and of `key`, and of which Python it is: another compiles otherwise. "" for code that
    is too much to look at."""
    try:
        return f"{sys.implementation.cache_tag} {fingerprint(projection.fold, projection.key)}"
    except TooLarge:
        return ""


def is_changed(before: str, now: str) -> bool:
    """Whether two marks, made by the same Python, tell of different folds."""
    return before != now and before.partition(" ")[0] == now.partition(" ")[0]


def other_indexes(found: Version, view: View) -> tuple[str, str] | None:
    """What is wrong where the code's indexes are not those that this version was made with, and the cure; else None."""
    if found.indexes == view.table.indexes:
        return None
    made, said = (f"({', '.join(names)})" for names in (found.indexes, view.table.indexes))
    what = f"{view.name} was made with the indexes {made} and this code declares {said}"
    version = found.version + 1
    return what, f"put them back, or give the projection version={version}, which is built beside the one that is read"


async def register(store: Store, view: View) -> None:
    """Make this code's version of a view known; the first one ever seen is read at once.

    Warns where the fold was changed since, without a new version. Errors: `Unavailable` while it is being dropped;
    `Misconfigured` where its indexes were changed, because no row could be written.
    """
    name, version = view.projection.name, view.projection.version
    mark = fold_mark(view.projection)
    while True:
        served, at = await pointer(store, name)
        found, _ = await find_version(store, name, version)
        if found is not None and served is not None:
            break
        first = served is None
        changes: list[RowChange] = [pointer_put(name, Served(version), 0) if first else Check(VIEWS, _key(name), at)]
        if found is None:
            indexes = view.table.indexes
            known = Version(version, indexes, view.inline, mark, built=first, served=first)
            changes.append(version_put(name, known, 0))
        try:
            await store.commit(Batch(rows=changes))
        except Conflict:
            continue  # another process makes them known as well: look at what it has written
        return
    if found.dropping:
        raise Unavailable(f"version {version} of view {name!r} is being dropped: `foldlog views drop` ends that")
    if wrong := other_indexes(found, view):
        raise Misconfigured(": ".join(wrong))
    if found.served and served.current != version:
        log.warning(
            "this code keeps version %d of a view whose version %d is read: `foldlog views switch` changes that",
            version,
            served.current,
            extra={"function": view.name},
        )
    if is_changed(found.fingerprint, mark):
        log.warning(
            "the fold was changed without a new version: rows made before stay as they are; give it version=%d to "
            "build them anew",
            version + 1,
            extra={"function": view.name},
        )


async def switch(store: Store, name: str, version: int, *, back: bool = False) -> Served:
    """Let every process read this version; one commit, which can be taken back. Returns the new pointer.

    Errors: `NotFound`, `Invalid` for a version that is not built or is being dropped, `Conflict` when another switch
    came first.
    """
    served, at = await pointer(store, name)
    found, row = await known_version(store, name, version)
    if found.dropping:
        raise Invalid(f"version {version} of view {name!r} is being dropped")
    if not found.built:
        state = await progress(store, name, version)
        raise Invalid(f"version {version} of view {name!r} is {state}: `foldlog views rebuild` builds it")
    if served is not None and served.current == version:
        return served
    new = Served(version, served.current if served else 0)
    changed = msgspec.structs.replace(found, served=True)
    await store.commit(Batch(rows=[pointer_put(name, new, at), version_put(name, changed, row)]))
    log.info("switched", extra={"view": name, "version": version, "before": new.before, "back": back})
    return new


async def back(store: Store, name: str) -> Served:
    """Take the last switch back. Errors: `Invalid` where there is none, else as for `switch`."""
    served, _ = await pointer(store, name)
    if served is None or not served.before:
        raise Invalid(f"view {name!r} has no version to go back to: it was not switched, or that version was dropped")
    return await switch(store, name, served.before, back=True)


class Serving:
    """What one process knows of the pointers: looked up when a view is read, kept for `limits.SERVED` seconds."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._seen: dict[str, tuple[Source, int]] = {}
        self._registered: set[str] = set()

    async def source(self, view: View) -> Source:
        """Where to read a view: in the table of the current version, whatever version this code has."""
        name = view.projection.name
        kept = self._seen.get(name)
        now = self._clock.now()
        if kept is not None and 0 <= now - kept[1] < limits.SERVED * 1e6:
            return kept[0]
        source = await self._look(view)
        self._seen[name] = source, now
        return source

    def forget(self, view: View) -> None:
        """Look again at the next read: this process has just switched."""
        self._seen.pop(view.projection.name, None)

    async def register(self, view: View) -> None:
        """Make a view known, once in this process; for senders of inline rows, which have no function at work."""
        if view.name not in self._registered:
            await register(self._store, view)
            self._registered.add(view.name)

    async def instead(self, view: View) -> Table:
        """This code's own table, for a view whose current version does not fit this code.

        That is right during a rolling deployment, as long as the own version was built and somebody keeps it up.
        Errors: `Unavailable`, telling how far it is.
        """
        name, version = view.projection.name, view.projection.version
        found, _ = await find_version(self._store, name, version)
        held = await checkpoint(self._store, view.name)
        if found and found.built and held and held.owner and held.until > self._clock.now():
            return view.table
        source = await self.source(view)
        state = await progress(self._store, name, version)
        reason = (
            f"nobody keeps version {version} up: `foldlog run` does, or go back with `foldlog views back`"
            if found and found.built
            else f"version {version} is {state}"
        )
        wait = min(state.eta or 1.0, limits.RETRY_AFTER)
        raise Unavailable(
            f"view {name!r}: version {source.version} is read now, and does not fit this code; {reason}", wait
        )

    async def _look(self, view: View) -> Source:
        own = Source(view.table, view.projection.version, view.inline)
        served, _ = await pointer(self._store, view.projection.name)
        if served is None or served.current == own.version:
            return own
        name = view.projection.name
        current, _ = await known_version(self._store, name, served.current)
        return Source(current.table(name), current.version, current.inline)


def _key(text: str) -> RowKey:
    return RowKey("", text)


async def _row(store: Store, text: str) -> Row | None:
    key = _key(text)
    return (await store.get(VIEWS, [key])).get(key)
