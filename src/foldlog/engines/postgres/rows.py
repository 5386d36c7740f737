"""Reading rows: by key, and page by page in the order of the key or of an index."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import starmap
from typing import Any, TypeVar

import msgspec
from psycopg.errors import UndefinedTable

from foldlog import limits
from foldlog.engines.postgres.matching import Params
from foldlog.engines.postgres.session import Connection, fetch, texts
from foldlog.engines.postgres.tables import SOMETHING, Stored, Tables, sortable
from foldlog.ports.store import Range, Row, RowKey, Rows, Table

T = TypeVar("T")
_VALUE = 2


async def get(conn: Connection, tables: Tables, table: Table, keys: Sequence[RowKey], now: int) -> dict[RowKey, Row]:
    """The rows that are there and not past their time."""

    async def read(stored: Stored) -> dict[RowKey, Row]:
        rows = [_row_of(*found) for found in await _by_key(conn, stored, stored.columns, keys, now)]
        return {row.key: row for row in rows}

    return await _there(conn, tables, table, read, {}) if keys else {}


async def version(conn: Connection, tables: Tables, table: Table, key: RowKey, now: int) -> int:
    """The version of a row; 0 where it is absent or past its time."""
    found = await get(conn, tables, table, [key], now)
    return found[key].version if found else 0


async def scan(conn: Connection, tables: Tables, table: Table, range: Range, now: int) -> Rows:
    """A page of rows in order; it ends early where the values are large."""

    async def read(stored: Stored) -> Rows:
        statement, values = _page(stored, table, range, now)
        found: list[tuple[Any, ...]] = []
        size = 0
        for row in await fetch(conn, statement, values):
            size += len(row[_VALUE])
            if len(found) == range.limit or (found and size > limits.PAGE_BYTES):
                return Rows(list(starmap(_row_of, found)), more=True)
            found.append(row)
        return Rows(list(starmap(_row_of, found)), more=False)

    return await _there(conn, tables, table, read, Rows([], more=False))


async def _there(
    conn: Connection, tables: Tables, table: Table, read: Callable[[Stored], Awaitable[T]], absent: T
) -> T:
    """What is read of the table, once more where it was dropped since it was last met, and made anew perhaps."""
    stored = await tables.find(conn, table)
    if stored is None:
        return absent
    try:
        return await read(stored)
    except UndefinedTable:
        tables.forget(table)
        again = await tables.find(conn, table)
        return absent if again is None else await read(again)


async def _by_key(
    conn: Connection, stored: Stored, columns: str, keys: Sequence[RowKey], now: int
) -> list[tuple[Any, ...]]:
    alive = " AND (r.expires IS NULL OR r.expires > $3)" if stored.expiring else ""
    last = [now] if stored.expiring else []
    if len(keys) == 1:
        one = f"SELECT {columns} FROM {stored.name} AS r WHERE r.tenant = $1 AND r.key = $2{alive}"
        return await fetch(conn, one, [*keys[0], *last])
    tenants: defaultdict[str, list[str]] = defaultdict(list)
    for tenant, key in keys:
        tenants[tenant].append(key)
    many = f"SELECT {columns} FROM {stored.name} AS r WHERE r.tenant = $1 AND r.key = ANY($2::text[]){alive}"
    found: list[tuple[Any, ...]] = []
    for tenant, wanted in tenants.items():
        found += await fetch(conn, many, [tenant, texts(wanted), *last])
    return found


def _row_of(tenant: str, key: str, value: bytes, version: int, position: int, shown: str = "[]") -> Row:
    return Row(RowKey(tenant, key), value, version, position, tuple(msgspec.json.decode(shown)))


def _page(stored: Stored, table: Table, range: Range, now: int) -> tuple[str, list[Any]]:
    params = Params()
    after, (beyond, way) = range.after, ("<", "DESC") if range.backward else (">", "ASC")
    where = f"tenant = {params.add(range.tenant)}"
    if range.index is None:
        column, order = "key", f"key {way}"
        low: Any = range.low
        high: Any = range.high
        behind = None if after is None else f"key {beyond} {params.add(after.key.key)}"
    else:
        number = table.indexes.index(range.index)
        column, order = f"i{number}", f"i{number} {way}, key {way}"
        high = None if range.high is None else sortable(range.high)
        low = (
            SOMETHING if range.low is None and high is not None else None if range.low is None else sortable(range.low)
        )
        behind = None
        if after is not None:
            place = params.add(sortable(after.index[number])), params.add(after.key.key)
            behind = f"({column}, key) {beyond} ({', '.join(place)})"
    if low is not None:
        where += f" AND {column} >= {params.add(low)}"
    if high is not None:
        where += f" AND {column} <= {params.add(high)}"
    if behind is not None:
        where += f" AND {behind}"
    if stored.expiring:
        where += f" AND (expires IS NULL OR expires > {params.add(now)})"
    where += f" ORDER BY {order} LIMIT {params.add(range.limit + 1)}"
    return f"SELECT {stored.columns} FROM {stored.name} AS r WHERE {where}", params.values
