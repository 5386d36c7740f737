"""What a function has yet to do, as rows: one row an item, above and below the checkpoint of its partition.

An event that goes right leaves no row behind: the checkpoint passes it. A row is there for

    done       an event above the checkpoint that is done already (the inbox mark)
    ready      an event that waits for its retry, or behind one that does; a command to be sent (the outbox)
    dead       a dead letter
    discarded  a dead letter that an operator let go of, until the function's owner has seen it

Only the partition's owner writes rows that are not dead, under its lease; only operators write dead ones, on condition
of the row's version. So the two never race.
"""

import logging
import traceback
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from foldlog import limits
from foldlog.errors import Corrupt
from foldlog.flow.partition import ALL
from foldlog.model.message import Recorded
from foldlog.model.query import Query
from foldlog.ports.store import Delete, IndexValue, Put, Range, Row, RowKey, Store, Table

log = logging.getLogger("foldlog.deliver")
INBOX = Table("inbox", indexes=("dead", "operator"))

DONE, READY, DEAD, DISCARDED = "done", "ready", "dead", "discarded"


class Command(msgspec.Struct, frozen=True):
    """A `Send` at rest."""

    decider: str
    key: str
    name: str
    version: int
    body: msgspec.Raw
    insist: bool = False


class Item(msgspec.Struct, eq=False):
    """One thing to do: the event at `position` (`index` 0), or the command number `index` that it was answered with.

    An event that a process takes for several keys is as many items: those of key number n count from n *
    `limits.KEY_STRIDE`. `due` and the times are microseconds since 1970; `row` is the row's version, 0 for none.
    """

    function: str
    position: int
    index: int
    key: str
    tenant: str = ""
    stream: str = ""
    event_version: int = 0
    type: str = ""
    status: str = READY
    attempts: int = 0
    due: int = 0
    failed: int = 0
    error: str = ""
    correlation: str = ""
    event_id: str = ""
    actor: str = ""
    command: Command | None = None
    operator: bool = False
    row: int = 0
    partition: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Which of a function's items it is."""
        return self.position, self.index

    @property
    def row_key(self) -> RowKey:
        """Where it stands: items of a partition in order of the log."""
        return RowKey("", f"{self.function}/{self.partition:02d}/{self.position:019d}/{self.index:03d}")

    def follow(self, event: Recorded[Any]) -> None:
        """Keep what a command that follows needs of the event's envelope."""
        meta = event.meta
        self.correlation, self.actor, self.event_id = meta.correlation, meta.actor, event.id

    def answered(self, number: int, command: Command) -> "Item":
        """What is to be sent because the event was answered with it."""
        return msgspec.structs.replace(
            self, index=self.index + number, command=command, status=READY, attempts=0, due=0, failed=0, error="", row=0
        )

    def put(self, if_version: int | None = None) -> Put:
        """The row that keeps it as it is now."""
        place = f"{self.function}/{self.position:019d}"  # in order of the log, whatever the partition
        dead: IndexValue = place if self.status == DEAD else None
        operator: IndexValue = place if self.operator else None
        self.row += 1
        value = msgspec.json.encode(self)
        return Put(INBOX, self.row_key, value, if_version, position=self.position, index=(dead, operator))

    def delete(self) -> Delete:
        """Its row goes."""
        self.row = 0
        return Delete(INBOX, self.row_key)

    def report(self) -> None:
        """Log its failed attempt: a line that tells people what failed, with fields for machines."""
        error = last_line(self.error)
        log.log(
            logging.ERROR if self.status == DEAD else logging.WARNING,
            "%s: %s, attempt %d at %s@%d: %s",
            "dead letter" if self.status == DEAD else "attempt failed",
            self.function,
            self.attempts,
            self.stream,
            self.event_version,
            error,
            extra={
                "function": self.function,
                "stream": self.stream,
                "position": self.position,
                "attempt": self.attempts,
                "correlation": self.correlation,
                "error": error,
            },
        )


def told(error: BaseException | str) -> str:
    """An error as text that can be stored: the end of its traceback, without what UTF-8 cannot hold."""
    text = error if isinstance(error, str) else "".join(traceback.format_exception(error))
    return text.encode(errors="replace").decode()[-limits.ERROR_CHARS :]


def last_line(error: str) -> str:
    """What a traceback ends with: the exception."""
    return error.strip().rsplit("\n", 1)[-1]


def decode(row: Row) -> Item:
    """The item in a row."""
    item = msgspec.json.decode(row.value, type=Item)
    item.row = row.version
    return item


async def event(store: Store, item: Item) -> Recorded[Any]:
    """The event that an item is about. Errors: `Corrupt` where the log does not have it any more."""
    page = await store.read(Query(), item.position - 1, 1)
    if not page.events or page.events[0].position != item.position:
        raise Corrupt(f"{item.stream}: the event at position {item.position} is gone from the log")
    return page.events[0]


async def items(store: Store, function: str, partitions: Sequence[int] = ALL) -> AsyncIterator[Item]:
    """All rows of a function's partitions, each partition's in order of the log."""
    whole = len(partitions) == len(ALL)
    for prefix in [f"{function}/"] if whole else [f"{function}/{number:02d}/" for number in partitions]:
        async for item in _under(store, prefix):
            yield item


async def _under(store: Store, prefix: str) -> AsyncIterator[Item]:
    after: Row | None = None
    while True:
        span = Range(low=prefix, high=f"{prefix}~", after=after, limit=limits.FIND_MAX)
        rows, more = await store.scan(INBOX, span)
        for row in rows:
            yield decode(row)
        if not more:
            return
        after = rows[-1]


async def all_items(store: Store) -> AsyncIterator[Item]:
    """All rows of all functions."""
    after: Row | None = None
    more = True
    while more:
        rows, more = await store.scan(INBOX, Range(after=after, limit=limits.FIND_MAX))
        for row in rows:
            yield decode(row)
        after = rows[-1] if rows else after


async def marked(store: Store, index: str, function: str | None, limit: int, after: Row | None = None) -> list[Row]:
    """Rows that stand in the index "dead" or "operator", of one function or of all."""
    low, high = (f"{function}/", f"{function}/~") if function else ("", "~")
    rows, _ = await store.scan(INBOX, Range(index=index, low=low, high=high, after=after, limit=limit))
    return rows
