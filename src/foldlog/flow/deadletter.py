"""What an operator sees of dead letters: list them, look at one, replay or discard some.

Replaying and discarding only leave a request on the row; the function's owner takes it up, at once in the same
process, within `limits.OPERATOR_POLL` seconds elsewhere, or when it next runs.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Conflict, Invalid, NotFound
from foldlog.flow import inbox
from foldlog.flow.inbox import Item
from foldlog.model.stream import check_limit
from foldlog.ports.store import Batch, Put, Row, RowChange, RowKey, Store

_NO_REPLAY = "{} is a projection: its row is stale from this event on. Mend the fold and give it a new version"


class Letter(msgspec.Struct, frozen=True):
    """A dead letter. `id` names it for `show`, `replay` and `discard`; `failed` is microseconds since 1970; `command`
    is the stored name of the command that failed, or "" where the event's handler or fold itself did."""

    id: str
    function: str
    stream: str
    version: int
    position: int
    type: str
    key: str
    tenant: str
    attempts: int
    failed: int
    error: str
    correlation: str
    command: str = ""


def letter(item: Item) -> Letter:
    """An item as an operator sees it."""
    return Letter(
        item.row_key.key,
        item.function,
        item.stream,
        item.event_version,
        item.position,
        item.type,
        item.key,
        item.tenant,
        item.attempts,
        item.failed,
        item.error,
        item.correlation,
        item.command.name if item.command else "",
    )


async def dead_letters(store: Store, function: str | None = None, limit: int = limits.FIND) -> list[Letter]:
    """Dead letters of one function or of all, oldest event first within each function."""
    check_limit(limit, limits.FIND_MAX)
    return [letter(inbox.decode(row)) for row in await inbox.marked(store, "dead", function, limit)]


async def show(store: Store, id: str) -> Letter:
    """One dead letter. Errors: `NotFound`."""
    return letter(await _find(store, id))


async def replay(
    store: Store,
    function: str | None = None,
    *,
    id: str | None = None,
    key: str | None = None,
    type: str | None = None,
    tenant: str | None = None,
) -> int:
    """Ask for another try of one dead letter, or of those that match; returns how many.

    A projection's parked rows cannot be replayed, because their later events are missing too: give the projection a new
    version. Errors: `NotFound`, `Invalid`.
    """
    return await _request(store, function, id, _Which(key, type, tenant), inbox.READY)


async def discard(
    store: Store,
    function: str | None = None,
    *,
    id: str | None = None,
    key: str | None = None,
    type: str | None = None,
    tenant: str | None = None,
) -> int:
    """Give up one dead letter for good, or those that match; returns how many. Errors as for `replay`."""
    return await _request(store, function, id, _Which(key, type, tenant), inbox.DISCARDED)


async def of_key(store: Store, function: str, key: str, tenant: str) -> list[Item]:
    """The dead letters of one key of a function, oldest event first."""
    return [item async for item in _dead(store, function, _Which(key, None, tenant))]


def discarding(items: Sequence[Item]) -> list[RowChange]:
    """What gives these up, in a commit of the caller's: a `Conflict` where another operator came first."""
    return [_asking(item, inbox.DISCARDED) for item in items]


class _Which(NamedTuple):
    """Those with this key, type and tenant; None stands for any."""

    key: str | None
    type: str | None
    tenant: str | None

    def holds(self, item: Item) -> bool:
        asked = zip(self, (item.key, item.type, item.tenant), strict=True)
        return all(one in {None, found} for one, found in asked) and not item.function.startswith("view.")


async def _request(store: Store, function: str | None, id: str | None, which: _Which, status: str) -> int:
    if id is not None:
        return await _ask(store, await _find(store, id), status)
    if function is not None and function.startswith("view."):
        raise Invalid(_NO_REPLAY.format(function))
    return sum([await _ask(store, item, status) async for item in _dead(store, function, which)])


async def _dead(store: Store, function: str | None, which: _Which) -> AsyncIterator[Item]:
    after: Row | None = None
    while rows := await inbox.marked(store, "dead", function, limits.FIND, after):
        after = rows[-1]
        for item in map(inbox.decode, rows):
            if which.holds(item):
                yield item


async def _ask(store: Store, item: Item, status: str) -> int:
    if item.function.startswith("view."):
        raise Invalid(_NO_REPLAY.format(item.function))
    try:
        await store.commit(Batch(rows=[_asking(item, status)]))
    except Conflict:
        return 0  # another operator came first; what they asked for holds
    return 1


def _asking(item: Item, status: str) -> Put:
    version = item.row
    item.status, item.operator, item.attempts, item.due = status, True, 0, 0
    return item.put(version)


async def _find(store: Store, id: str) -> Item:
    key = RowKey("", id)
    row = (await store.get(inbox.INBOX, [key])).get(key)
    item = inbox.decode(row) if row else None
    if row is None or item is None or item.status != inbox.DEAD:
        raise NotFound(f"there is no dead letter {id!r}; `dead-letters list` shows their ids")
    return item
