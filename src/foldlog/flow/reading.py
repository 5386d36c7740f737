"""What can be read back: rows of a view in order, and events of the log, page by page."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import msgspec

from foldlog import limits
from foldlog.errors import Invalid, Undecodable
from foldlog.flow.index import index_value, kind_of
from foldlog.flow.serving import Serving, Source
from foldlog.flow.stale import stale
from foldlog.flow.view import View, field_of
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.model.stream import check_limit, check_tenant, check_text
from foldlog.ports.store import Range, Row, RowKey, Store, Table

R = TypeVar("R")
Seen = tuple[Source, Row | None]
"""Where a row was waited for, and the row, or None where it is still to be read there."""


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A row that `find` found: its key and value; give the last one as `after` to read on.

    `stale` says that the row lacks an event, and all later ones: its fold failed on it, or an event's key could not be
    told. A new version of the projection repairs it.
    """

    key: str
    value: R
    row: Row
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a `find` asks for; see `App.find`."""

    index: str | None
    low: Any
    high: Any
    limit: int
    after: Found[Any] | None
    backward: bool
    tenant: str

    def check(self, view: View) -> None:
        """What can be said before anything is read. Errors: `Invalid`, `TooLarge`."""
        check_limit(self.limit, limits.FIND_MAX)
        check_tenant(self.tenant)
        if self.index is not None and self.index not in view.table.indexes:
            known = ", ".join(view.table.indexes) or "none"
            raise Invalid(f"{view.projection!r} has no index {self.index!r}; declared: {known}")
        if self.after is not None and not isinstance(self.after, Found):
            raise Invalid(f"bad after {self.after!r}: give the last row that `find` returned")
        for bound in (self.low, self.high):
            kind = kind_of(type(index_value(bound)))
            holds = view.index_kinds[self.index] if self.index is not None else "texts"
            if kind and holds and kind != holds:
                what = f"index {self.index!r}" if self.index is not None else "key"
                raise Invalid(f"the {what} of {view.projection!r} holds {holds}: {bound!r} is none of them")

    def behind(self, table: Table) -> Row | None:
        """The row to read on behind, as it would stand in this table: the last page may be of another version."""
        if self.after is None or self.index is None:
            return self.after.row if self.after else None
        value = index_value(field_of(self.after.value, self.index))
        values = tuple([value if name == self.index else None for name in table.indexes])
        return msgspec.structs.replace(self.after.row, index=values)


def row_key(key: str, tenant: str) -> RowKey:
    """Where a row stands. Errors: `Invalid`."""
    return RowKey(check_tenant(tenant), check_text("row key", key, limits.KEY_BYTES))


async def row_in(store: Store, view: View, table: Table, key: RowKey) -> Any:
    """A row as one table has it, None where there is none."""
    return view.decode((await store.get(table, [key])).get(key))


async def rows_in(store: Store, view: View, table: Table, wanted: Wanted) -> list[Found[Any]]:
    """Rows of one table, in order."""
    found: list[Found[Any]] = []
    row, more = wanted.behind(table), True
    low, high = index_value(wanted.low), index_value(wanted.high)
    while more and len(found) < wanted.limit:
        left = wanted.limit - len(found)
        span = Range(wanted.tenant, wanted.index, low, high, row, left, wanted.backward)
        rows, more = await store.scan(table, span)
        for row in rows:
            value = view.decode(row)
            if value is not None:
                found.append(Found(row.key.key, value, row))
    marked = await stale(store, table.name, wanted.tenant, [one.key for one in found]) if found else set[str]()
    return [replace(one, stale=True) if one.key in marked else one for one in found] if marked else found


async def get(store: Store, serving: Serving, view: View, key: RowKey, seen: Seen | None = None) -> Any:
    """A row of the version of a view that is read now, or was when it was `seen`; see `App.get`.

    Errors: `Unavailable` where its rows do not fit this code and this code's own are not built.
    """
    source, row = seen or (await serving.source(view), None)
    if row is None:
        row = (await store.get(source.table, [key])).get(key)
    if source.version == view.projection.version:
        return view.decode(row)
    if view.inline and source.inline:
        # Senders keep only their own code's rows: what one of this code has just written must be what it reads.
        own = (await store.get(view.table, [key])).get(key)
        if own is not None and (row is None or own.position >= row.position):
            return view.decode(own)
    try:
        return view.decode(row)
    except Undecodable:
        return await row_in(store, view, await serving.instead(view), key)


async def find(store: Store, serving: Serving, view: View, wanted: Wanted) -> list[Found[Any]]:
    """Rows of the version of a view that is read now; see `App.find`. Errors: as for `get`."""
    source = await serving.source(view)
    if wanted.index is not None and wanted.index not in source.table.indexes:
        return await rows_in(store, view, await serving.instead(view), wanted)
    try:
        return await rows_in(store, view, source.table, wanted)
    except Undecodable:
        if source.version == view.projection.version:
            raise
        return await rows_in(store, view, await serving.instead(view), wanted)


async def events(
    store: Store, query: Query, after: int, limit: int | None, *, backward: bool
) -> AsyncIterator[Recorded[Any]]:
    """Events in order until the end, or `limit` of them; see `App.read`."""
    if limit is not None:
        check_limit(limit, 2**63 - 1)
    if type(after) is not int or after < 0:
        raise Invalid(f"bad after {after!r}: write a position or version, from 0")
    left = limit
    more = True
    while more and left != 0:
        page = await store.read(query, after, min(left or limits.PAGE, limits.PAGE), backward=backward)
        for event in page.events:
            yield event
        more = page.more
        if page.events:
            after = page.events[-1].version if query.stream else page.events[-1].position
            left = None if left is None else left - len(page.events)
