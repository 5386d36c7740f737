"""Inline rows: made by who sends, committed with the events."""

from collections.abc import Iterable, Sequence
from typing import Any

from foldlog import limits
from foldlog.errors import Unavailable
from foldlog.flow.state import misused
from foldlog.flow.view import View
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import RowChange, RowKey, Store


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
        while at < version:
            page = await store.read(Query(stream=stream, tenant=tenant), at, limits.PAGE_MAX)
            for missed in page.events:
                if view.concerns(missed) and missed.version <= version:
                    value = _folded(view, value, missed.data)
            at = page.events[-1].version if page.more else version
        for _, event in wanted:
            value = _folded(view, value, event)
        # A tombstone carries the version of the last event that it is made of: there the follower removes it.
        upto = wanted[-1][0] if value is None else new_version
        changes.append(view.change(key, value, upto, row.version if row else 0))
    return changes


def _folded(view: View, value: Any, event: Any) -> Any:
    try:
        return view.projection.fold(value, event)
    except Unavailable as error:
        raise misused(f"the fold of {view.projection}", error) from error
