"""The few words that the cases of the contract are written in."""

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

from foldlog import limits
from foldlog.errors import FoldlogError
from foldlog.model.message import Draft, Meta, Recorded, encode_meta
from foldlog.model.query import Query
from foldlog.model.stream import ANY
from foldlog.ports.store import (
    Append,
    Appended,
    Batch,
    Capabilities,
    Condition,
    IndexValue,
    Put,
    Range,
    Row,
    RowChange,
    RowKey,
    Store,
    Table,
)

PLAIN = Table("plain")
INDEXED = Table("indexed", ("size", "label"))
EXPIRING = Table("expiring", expiring=True)
FAR = 4_102_444_800_000_000  # the year 2100 in microseconds: not expired
PAST = 1_000_000  # 1970: expired

F = TypeVar("F", bound=FoldlogError)


def draft(type: str = "seen", body: bytes = b"{}", *tags: str, encoding: str = "json") -> Draft:
    return Draft(type, 1, body, encode_meta(Meta(command="c", tags=tags)), tags, encoding)


def append(
    stream: str,
    drafts: int | Sequence[Draft] = 1,
    expected: int = ANY,
    tenant: str = "",
    condition: Condition | None = None,
) -> Append:
    """An append of these drafts, or of so many plain ones."""
    if isinstance(drafts, int):
        drafts = [draft(body=str(number).encode()) for number in range(drafts)]
    return Append(stream, drafts, expected, tenant, condition)


async def write(
    store: Store,
    stream: str,
    drafts: int | Sequence[Draft] = 1,
    expected: int = ANY,
    tenant: str = "",
    condition: Condition | None = None,
) -> Appended:
    """Commit one append."""
    (done,) = await store.commit(Batch([append(stream, drafts, expected, tenant, condition)]))
    return done


async def change(store: Store, *rows: RowChange) -> None:
    """Commit row changes."""
    assert await store.commit(Batch(rows=rows)) == []


def key(name: str, tenant: str = "") -> RowKey:
    return RowKey(tenant, name)


def put(name: str, value: bytes = b"v", if_version: int | None = None, *, table: Table = PLAIN, **more: Any) -> Put:
    return Put(table, RowKey(more.pop("tenant", ""), name), value, if_version, **more)


def sized(name: str, size: IndexValue, label: IndexValue = None, tenant: str = "") -> Put:
    """A row of the table with two indexes."""
    return put(name, table=INDEXED, index=(size, label), tenant=tenant)


async def row(store: Store, name: str, table: Table = PLAIN, tenant: str = "") -> Row | None:
    where = RowKey(tenant, name)
    return (await store.get(table, [where])).get(where)


async def version(store: Store, name: str, table: Table = PLAIN) -> int:
    """A row's version, 0 where it is absent."""
    found = await row(store, name, table)
    return found.version if found else 0


async def read_all(
    store: Store, query: Query | None = None, after: int = 0, limit: int = limits.PAGE_MAX, *, backward: bool = False
) -> list[Recorded[Any]]:
    """All pages of a query, each at most `limit` long, as one list."""
    query = query or Query()
    events: list[Recorded[Any]] = []
    while True:
        page = await store.read(query, after, limit, backward=backward)
        assert len(page.events) <= limit
        events += page.events
        if not page.more:
            return events
        assert page.events, "a page with `more` must bring the reader on"
        after = page.events[-1].version if query.stream else page.events[-1].position


async def scan_all(store: Store, table: Table, limit: int = limits.FIND_MAX, **range: Any) -> list[str]:
    """The keys of all pages of a scan, each at most `limit` long."""
    rows: list[Row] = []
    after = range.pop("after", None)
    while True:
        page = await store.scan(table, Range(limit=limit, after=after, **range))
        assert len(page.rows) <= limit
        rows += page.rows
        if not page.more:
            return [row.key.key for row in rows]
        assert page.rows, "a page with `more` must bring the reader on"
        after = page.rows[-1]


def places(events: Sequence[Recorded[Any]]) -> list[str]:
    """Where events stand, in short: `stream@version`."""
    return [f"{event.stream}@{event.version}" for event in events]


async def refuses(error: type[F], store: Store, batch: Batch) -> F:
    """The store refuses the batch with exactly this error, and nothing of it is stored."""
    before = await _stored(store)
    with pytest.raises(error) as caught:
        await store.commit(batch)
    assert type(caught.value) is error
    assert await _stored(store) == before
    return caught.value


async def _stored(store: Store) -> Any:
    events = [(event.position, event.tenant, event.stream, event.version) for event in await read_all(store)]
    tables = [await store.scan(table, Range(tenant, limit=limits.FIND_MAX)) for table in _TABLES for tenant in _TENANTS]
    return await store.head(), events, tables


_TABLES, _TENANTS = (PLAIN, INDEXED, EXPIRING), ("", "a", "b")


def needs_tags(store: Store) -> None:
    _needs(store.capabilities.tags, "tags")


def needs_order(store: Store) -> None:
    _needs(store.capabilities.order, "positions that rise over the whole log")


def needs_durable(capabilities: Capabilities) -> None:
    _needs(capabilities.durable, "durability")


def needs_streams(store: Store, count: int) -> None:
    _needs(store.capabilities.batch_streams >= count, f"{count} streams in one commit")


def _needs(there: bool, what: str) -> None:
    if not there:
        pytest.skip(f"this engine does not claim {what}")
