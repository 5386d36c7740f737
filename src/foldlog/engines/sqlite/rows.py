"""Reading rows: by key, and page by page in the order of the key or of an index."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from foldlog import limits
from foldlog.engines.sqlite.log import snapshot
from foldlog.engines.sqlite.tables import Stored, find
from foldlog.ports.store import Range, Row, RowKey, Rows, Table

_VALUE = 2


def get(conn: apsw.Connection, table: Table, keys: Sequence[RowKey], now: int) -> dict[RowKey, Row]:
    """The rows that are there and not past their time."""
    with snapshot(conn):
        stored = find(conn, table)
        if stored is None:
            return {}
        alive = "" if not stored.expiring else " AND (r.expires IS NULL OR r.expires > :now)"
        if len(keys) == 1:
            found: Iterable[tuple[Any, ...]] = conn.execute(
                f"SELECT {stored.columns} FROM {stored.name} AS r WHERE tenant = :tenant AND key = :key{alive}",
                {"tenant": keys[0].tenant, "key": keys[0].key, "now": now},
            )
            return {row.key: row for row in map(row_of, found)}
        tenants: defaultdict[str, list[str]] = defaultdict(list)
        for tenant, key in keys:
            tenants[tenant].append(key)
        rows: dict[RowKey, Row] = {}
        for tenant, wanted in tenants.items():
            found = conn.execute(
                f"SELECT {stored.columns} FROM carray(:keys) AS c"
                f" CROSS JOIN {stored.name} AS r ON r.tenant = :tenant AND r.key = c.value{alive}",
                {"tenant": tenant, "keys": apsw.carray(tuple(wanted)), "now": now},
            )
            rows.update((row.key, row) for row in map(row_of, found))
        return rows


def scan(conn: apsw.Connection, table: Table, range: Range, now: int) -> Rows:
    """A page of rows in order; it ends early where the values are large."""
    with snapshot(conn):
        stored = find(conn, table)
        if stored is None:
            return Rows([], more=False)
        found: list[tuple[Any, ...]] = []
        size = 0
        for where, params in _segments(table, range):
            for row in conn.execute(
                *_page(stored, where, params, table, range, now=now, limit=range.limit + 1 - len(found))
            ):
                size += len(row[_VALUE])
                if len(found) == range.limit or (found and size > limits.PAGE_BYTES):
                    return Rows(list(map(row_of, found)), more=True)
                found.append(row)
        return Rows(list(map(row_of, found)), more=False)


def row_of(columns: tuple[Any, ...]) -> Row:
    tenant, key, value, version, position, *index = columns
    return Row(RowKey(tenant, key), value, version, position, tuple(index))


def _page(
    stored: Stored, where: str, params: dict[str, Any], table: Table, range: Range, *, now: int, limit: int
) -> tuple[str, dict[str, Any]]:
    way = "DESC" if range.backward else "ASC"
    order = f"key {way}" if range.index is None else f"i{table.indexes.index(range.index)} {way}, key {way}"
    alive = " AND (expires IS NULL OR expires > :now)" if stored.expiring else ""
    where = f"tenant = :tenant{where}{alive} ORDER BY {order} LIMIT :limit"
    return f"SELECT {stored.columns} FROM {stored.name} AS r WHERE {where}", params | {
        "tenant": range.tenant,
        "now": now,
        "limit": limit,
    }


def _segments(table: Table, range: Range) -> list[tuple[str, dict[str, Any]]]:
    """The range as conditions, each one stretch of an index, in the order to go through them."""
    after, beyond = range.after, "<" if range.backward else ">"
    if range.index is None:
        where, params = _bounds("key", range)
        if after is not None:
            where, params = f"{where} AND key {beyond} :after", params | {"after": after.key.key}
        return [(where, params)]
    number = table.indexes.index(range.index)
    column = f"i{number}"
    # NULL compares with nothing, so rows whose value is None are a stretch of their own, before all others.
    nothing: tuple[str, dict[str, Any]] = (f" AND {column} IS NULL", {})
    where, params = _bounds(column, range)
    # -9e999 is minus infinity: any number and any text, and by the index.
    something = (where if range.low is not None else f"{where} AND {column} >= -9e999", params)
    bounded = range.low is not None or range.high is not None
    segments = [something] if bounded else [something, nothing] if range.backward else [nothing, something]
    if after is None:
        return segments
    value = after.index[number]
    if value is None:
        behind = (f"{nothing[0]} AND key {beyond} :after", {"after": after.key.key})
        if bounded:
            return [] if range.backward else [something]
        return [behind] if range.backward else [behind, something]
    where = f"{something[0]} AND ({column}, key) {beyond} (:value, :after)"
    behind = where, params | {"value": value, "after": after.key.key}
    return [behind, *segments[1:]] if range.backward else [behind]


def _bounds(column: str, range: Range) -> tuple[str, dict[str, Any]]:
    where, params = "", dict[str, Any]()
    if range.low is not None:
        where, params["low"] = f" AND {column} >= :low", range.low
    if range.high is not None:
        where, params["high"] = f"{where} AND {column} <= :high", range.high
    return where, params
