"""A fork: a log of its own with another log's events up to a position, to try a fix against real history.

The cut is a prefix of the log, whatever it was asked by: so every stream is whole up to it, and each event stands
behind what it followed from. A fork takes events along and no rows, because rows say what the old log's functions have
done. What it needs to know of its beginning is one row of its own.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.model.message import to_micros
from foldlog.model.query import Query
from foldlog.ports.store import Put, RowKey, Store, Table

FORK = Table("fork")
_KEY = RowKey("", "of")


class Fork(msgspec.Struct, frozen=True):
    """What a forked log knows of its beginning: `log` and `epoch` of the log it comes from, and the `position` of the
    last event that it took along. `handlers` is "new" where handlers leave those events alone, or "all"."""

    log: str
    epoch: int
    position: int
    handlers: str = "new"

    def row(self) -> Put:
        """The row that keeps it."""
        return Put(FORK, _KEY, msgspec.json.encode(self), position=self.position)


class Cut(NamedTuple):
    """The last event that comes along, when it was recorded, and how many events behind it had occurred in time but
    are left out, because one before them had not (only where the cut is by time of occurrence)."""

    position: int
    recorded: datetime
    left_out: int = 0


async def forked(store: Store) -> Fork | None:
    """Where this log was forked from; None for one that was not."""
    row = (await store.get(FORK, [_KEY])).get(_KEY)
    return msgspec.json.decode(row.value, type=Fork) if row else None


async def first(store: Store, start: str, *, process: bool = False) -> int:
    """The position behind which a handler or process begins that never ran. `start` is what it says: "first" or "new".

    In a fork that is its beginning, so that no effect of the old log happens again. For a process it always is: what
    came back to it stands in the copied log, and would come back a second time.
    """
    if start == "new":
        return await store.head()
    fork = await forked(store)
    return fork.position if fork is not None and (process or fork.handlers == "new") else 0


async def cut_at(store: Store, at: int | datetime | None, by: str, told: Callable[[int], None]) -> Cut:
    """Where to cut: at a position, at a time (what was recorded or had occurred then), or, for None, at the end.

    `told` hears how far a search by occurrence has come, which reads the log. Errors: `Invalid` where nothing is left
    to copy, the position is beyond the log, or a time has no zone.
    """
    left_out = 0
    head = await store.head()
    if isinstance(at, int) and at > head:
        raise Invalid(f"the log ends at position {head}: say a position up to it, or leave --at out to copy all of it")
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise Invalid(f"{at} has no time zone: write one, UTC for instance")
        if by == "occurred":
            at, left_out = await _occurred_until(store, to_micros(at), head, told)
        else:
            page = await store.read(Query(until=at), 0, 1, backward=True)
            at = page.events[0].position if page.events else 0
    upto = head if at is None else at
    last = (await store.read(Query(), upto + 1, 1, backward=True)).events if upto > 0 else []
    if not last:
        raise Invalid("no event stands before that point: there is nothing to fork")
    return Cut(last[0].position, last[0].recorded, left_out)


async def _occurred_until(store: Store, moment: int, head: int, told: Callable[[int], None]) -> tuple[int, int]:
    """The last position before the first event that occurred later, and how many behind it occurred no later."""
    cut = after = left_out = 0
    later = False
    while after < head:
        page = await store.read(Query(), after, limits.PAGE_MAX)
        for event in page.events:
            if event.position > head:
                break
            # Most envelopes say nothing of the kind, and need no decoding.
            said = event.meta.occurred if b'"occurred"' in event.raw_meta else None
            if (event.time if said is None else said) > moment:
                later = True
            elif later:
                left_out += 1
            else:
                cut = event.position
        if not page.events:
            break
        after = page.events[-1].position
        told(min(after, head))
    return cut, left_out
