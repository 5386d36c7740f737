"""The store: the log of events and the tables of rows of one backend. One write; everything else reads.

Whoever writes an engine reads `engines/memory.py` first and proves it with `foldlog.testing.contract`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from foldlog.model.message import Draft, Recorded
from foldlog.model.query import Query
from foldlog.model.stream import ANY

IndexValue = str | int | float | None
"""What an index holds; in order: None, numbers, texts (by code point)."""


class RowKey(NamedTuple):
    """A row's key inside its table."""

    tenant: str
    key: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of rows: its name, the names of its indexes, and whether its rows may expire.

    A table comes into being with its first row. The same name always comes with the same indexes.
    """

    name: str
    indexes: tuple[str, ...] = ()
    expiring: bool = False


class Row(msgspec.Struct, frozen=True, gc=False):
    """A stored row. `version` counts its puts from 1, `position` is what its maker said, `index` the values of the
    table's indexes, in their order."""

    key: RowKey
    value: bytes
    version: int
    position: int = 0
    index: tuple[IndexValue, ...] = ()


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write a row. `if_version` None: whatever is there; 0: nothing may be there; n: exactly that version.

    `position` is kept beside the row. `index` gives a value for each index of the table. `expires` (microseconds since
    1970, only in expiring tables) is when the row counts as absent, in conditions too: by the store's clock as it is
    then, whatever it said before and whatever time the log's last event has.
    """

    table: Table
    key: RowKey
    value: bytes
    if_version: int | None = None
    position: int = 0
    index: tuple[IndexValue, ...] = ()
    expires: int | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove a row, if it is there and, where `if_version` is given, has that version."""

    table: Table
    key: RowKey
    if_version: int | None = None


class Check(msgspec.Struct, frozen=True, gc=False):
    """Write nothing, but refuse the batch unless the row has this version (0: is absent)."""

    table: Table
    key: RowKey
    if_version: int


RowChange = Put | Delete | Check


class Condition(msgspec.Struct, frozen=True, gc=False):
    """Refuse the batch when an event behind position `after` matches `query` (by types and tags)."""

    query: Query
    after: int


class Append(msgspec.Struct, frozen=True, gc=False):
    """1 or more events for one stream, on condition of its version and, if given, that nothing new matches."""

    stream: str
    drafts: Sequence[Draft]
    expected: int = ANY
    tenant: str = ""
    condition: Condition | None = None


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What one commit does, all or nothing. A stream and a row may each stand in it once."""

    appends: Sequence[Append] = ()
    rows: Sequence[RowChange] = ()


class Appended(NamedTuple):
    """What one append became: the stream's version and the position of its last event, and the time of recording."""

    version: int
    position: int | None
    time: int


class Page(NamedTuple):
    """Some events in order. `more` says that reading on from the last one may find more now; `head` is the safe head
    as it was when the page was read: everything that matches up to it, and up to the last event when `more`, is here
    or on an earlier page."""

    events: list[Recorded[Any]]
    more: bool
    head: int


class Rows(NamedTuple):
    """Some rows in order, and whether reading on from the last one may find more now."""

    rows: list[Row]
    more: bool


@dataclass(frozen=True, slots=True)
class Range:
    """Rows to scan. Without `index` in order of the key, else in order of (index value, key).

    `low` and `high` bound the key or the index value, both ends included; None is open. With a bound, rows whose
    index value is None are left out. `after` is the row to read on behind (before, when `backward`).
    """

    tenant: str = ""
    index: str | None = None
    low: IndexValue = None
    high: IndexValue = None
    after: Row | None = None
    limit: int = 100
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do; read by the contract suite and by the check of an app's parts.

    `tags`: queries and conditions by tag. `order`: positions rise over the whole log. `batch_streams`: streams in one
    commit. `durable`: what was acknowledged survives a crash.
    """

    tags: bool = True
    order: bool = True
    batch_streams: int = 1
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Identity:
    """Which log this is: a random id, and an epoch that rises when positions are used again (restore, fork, move)."""

    log: str
    epoch: int


class Store(Protocol):
    """The port. Errors of every method: `Unavailable` (try again; nothing was stored, but where a server went in a
    commit and did not come back to tell, which the message then says), `Corrupt` (stop and alert)."""

    capabilities: Capabilities
    identity: Identity

    async def open(self) -> None:
        """Create the schema or check its version, and learn the identity.

        Errors: `Misconfigured` for a newer schema than this code, a place that is no Foldlog store, or no permission.
        """

    async def close(self) -> None:
        """Finish what was accepted, refuse the rest, let go of everything. Closing twice is allowed."""

    async def commit(self, batch: Batch) -> list[Appended]:
        """Write the batch, all or nothing; one answer for each append. Returns when it is durable.

        Errors: `Conflict` when a version, row or tag condition does not hold; `Invalid` for an empty batch, an append
        without events, a stream or row that stands in it twice, or a name outside the grammar; `TooLarge` for a limit
        of limits.py or of the engine; `Unavailable` when the queue is full. After each of them nothing is stored.
        """

    async def read(self, query: Query, after: int = 0, limit: int = 1_000, *, backward: bool = False) -> Page:
        """A page of at most `limit` matching events behind `after`, up to the safe head.

        A query of one stream goes by version, every other by position; `after` is of that kind and excluded. Backward
        it is the upper bound, 0 meaning the end. The order never changes: a stream's versions rise in it, and an
        append made after reading an event comes after that event. A page of large bodies ends early, with `more` set.
        Errors: `Invalid` for a limit below 1 or over `limits.PAGE_MAX`, and for an `after` outside 0 to 2**63 - 1.
        """

    async def head(self) -> int:
        """The safe head: the position up to which the log can no longer change; 0 when it is empty."""

    async def wait(self, after: int | None, timeout: float) -> None:
        """Return when there may be events behind `after` (None: when anything was committed since the call), or after
        `timeout` seconds. It may return early; it never misses a commit, of this process or another."""

    async def get(self, table: Table, keys: Sequence[RowKey]) -> dict[RowKey, Row]:
        """The rows that are there. A table that does not exist is empty. Errors: `Invalid` for names outside the
        grammar."""

    async def scan(self, table: Table, range: Range) -> Rows:
        """A page of rows in order. Errors: `Invalid` for an index the table does not have, a bad limit or bound."""

    async def drop(self, table: Table) -> None:
        """Remove a table with all its rows; a missing one is fine."""
