"""Which rows of a view are stale: a mark for each key whose fold failed, so that readers can tell without searching.

The mark is written with the dead letter of the first event that is missing in the row (where the row itself cannot be
stored: of the last one folded into it since it was stored), and stays as long as the row: a new version of the
projection has rows, and marks, of its own. What drops a version removes its marks with its letters.
"""

from collections.abc import Iterable

from foldlog import limits
from foldlog.flow import inbox
from foldlog.ports.store import Delete, Put, RowKey, Store, Table

STALE = Table("stale")


def mark(view: str, key: RowKey, position: int) -> Put:
    """The row that says so of a key; of the key "" where an event's key could not be told: any row may lack it."""
    return Put(STALE, _place(view, key), b"", position=position)


def unmark(view: str, key: RowKey) -> Delete:
    """The mark of a key goes, if there is one."""
    return Delete(STALE, _place(view, key))


async def stale(store: Store, view: str, tenant: str, keys: Iterable[str]) -> set[str]:
    """Those of some keys whose rows lack an event."""
    if not await inbox.marked(store, "dead", view, 1):
        return set()
    asked = {_place(view, RowKey(tenant, key)): key for key in ("", *keys)}
    places, found = list(asked), set[str]()
    for start in range(0, len(places), limits.PAGE):
        found |= {asked[place] for place in await store.get(STALE, places[start : start + limits.PAGE])}
    return set(asked.values()) if "" in found else found


def _place(view: str, key: RowKey) -> RowKey:
    return RowKey(key.tenant, f"{view}/{key.key}")
