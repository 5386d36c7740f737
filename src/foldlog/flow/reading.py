"""What can be read back: rows of a view in order, and events of the log, page by page."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.flow.stale import stale
from foldlog.flow.view import View, index_value
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.model.stream import check_limit, check_tenant, check_text
from foldlog.ports.store import Range, Row, RowKey, Store

R = TypeVar("R")


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


async def row(store: Store, view: View, key: str, tenant: str) -> Any:
    """One row of a view, None where there is none; see `App.get`."""
    place = RowKey(check_tenant(tenant), check_text("row key", key, limits.KEY_BYTES))
    return view.decode((await store.get(view.table, [place])).get(place))


def check_find(view: View, index: str | None, low: Any, high: Any, limit: int) -> None:
    """What can be said of a `find` before anything is read. Errors: `Invalid`, `TooLarge`."""
    check_limit(limit, limits.FIND_MAX)
    if index is not None and index not in view.table.indexes:
        known = ", ".join(view.table.indexes) or "none"
        raise Invalid(f"{view.projection!r} has no index {index!r}; declared: {known}")
    index_value(low)
    index_value(high)


async def find(
    store: Store,
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
    """At most `limit` rows of a view, in order; see `App.find`."""
    check_find(view, index, low, high, limit)
    if after is not None and not isinstance(after, Found):
        raise Invalid(f"bad after {after!r}: give the last row that `find` returned")
    found: list[Found[Any]] = []
    row = after.row if after else None
    more = True
    while more and len(found) < limit:
        span = Range(
            check_tenant(tenant),
            index,
            index_value(low),
            index_value(high),
            row,
            limit - len(found),
            backward,
        )
        rows, more = await store.scan(view.table, span)
        for row in rows:
            value = view.decode(row)
            if value is not None:
                found.append(Found(row.key.key, value, row))
    marked = await stale(store, view.name, tenant, [one.key for one in found]) if found else set[str]()
    return [replace(one, stale=True) if one.key in marked else one for one in found] if marked else found


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
