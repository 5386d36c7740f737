"""What can be read back: rows of a view in order, and events of the log, page by page."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from foldlog import limits
from foldlog.errors import Invalid, Undecodable
from foldlog.flow.serving import Serving
from foldlog.flow.view import View, field_of, index_value
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.model.stream import check_limit, check_tenant
from foldlog.ports.store import Range, Row, RowKey, Store, Table

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A row that `find` found: its key and value; give the last one as `after` to read on."""

    key: str
    value: R
    row: Row


async def get(store: Store, serving: Serving, view: View, key: RowKey) -> Any:
    """A row of the version of a view that is read now; see `App.get`. Errors: `Unavailable` where its rows do not fit
    this code and this code's own are not built."""
    source = await serving.source(view)
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
        return view.decode((await store.get(await serving.instead(view), [key])).get(key))


async def find(
    store: Store,
    serving: Serving,
    view: View,
    index: str | None,
    low: Any,
    high: Any,
    limit: int,
    after: Found[Any] | None,
    *,
    backward: bool,
    tenant: str,
) -> list[Found[Any]]:
    """At most `limit` rows of a view, in order; see `App.find`. Errors: as for `get`."""
    check_limit(limit, limits.FIND_MAX)
    if index is not None and index not in view.table.indexes:
        known = ", ".join(view.table.indexes) or "none"
        raise Invalid(f"{view.projection!r} has no index {index!r}; declared: {known}")
    bounds = index_value(low), index_value(high)

    async def rows_of(table: Table) -> list[Found[Any]]:
        found: list[Found[Any]] = []
        row = _cursor(table, index, after)
        more = True
        while more and len(found) < limit:
            span = Range(check_tenant(tenant), index, *bounds, row, limit - len(found), backward)
            rows, more = await store.scan(table, span)
            for row in rows:
                value = view.decode(row)
                if value is not None:
                    found.append(Found(row.key.key, value, row))
        return found

    source = await serving.source(view)
    if index is not None and index not in source.table.indexes:
        return await rows_of(await serving.instead(view))
    try:
        return await rows_of(source.table)
    except Undecodable:
        if source.version == view.projection.version:
            raise
        return await rows_of(await serving.instead(view))


def _cursor(table: Table, index: str | None, after: Found[Any] | None) -> Row | None:
    """The row to read on behind, as it would stand in this table: the last page may have come from another version."""
    if after is None or index is None:
        return after.row if after else None
    value = index_value(field_of(after.value, index))
    values = tuple([value if name == index else None for name in table.indexes])
    return msgspec.structs.replace(after.row, index=values)


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
