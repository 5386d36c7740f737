"""Two versions of a view, row by row in the order of their keys, in flat memory."""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.model.stream import check_tenant
from foldlog.ports.store import Range, Row, Store, Table


class Difference(NamedTuple):
    """A key whose rows differ. `kind` is "new" (only in the second table), "missing" (only in the first) or "changed";
    the rows are JSON values, None where there is none."""

    key: str
    kind: str
    first: Any
    second: Any


async def differences(store: Store, first: Table, second: Table, tenant: str = "") -> AsyncIterator[Difference]:
    """Every key of one tenant whose rows differ, in order. Rows are compared as JSON: the order of fields is nothing.

    The tables may be written meanwhile: then some differences are only of time.
    """
    check_tenant(tenant)
    lefts, rights = _rows(store, first, tenant), _rows(store, second, tenant)
    left, right = await anext(lefts, None), await anext(rights, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            if left is not None:
                yield Difference(left.key.key, "missing", json.loads(left.value), None)
            left = await anext(lefts, None)
        elif left is None or right.key < left.key:
            yield Difference(right.key.key, "new", None, json.loads(right.value))
            right = await anext(rights, None)
        else:
            if left.value != right.value:
                old, new = json.loads(left.value), json.loads(right.value)
                # Not `==` alone: to Python, 1 is 1.0 and True.
                if _canonical(old) != _canonical(new):
                    yield Difference(left.key.key, "changed", old, new)
            left, right = await anext(lefts, None), await anext(rights, None)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


async def _rows(store: Store, table: Table, tenant: str) -> AsyncIterator[Row]:
    after: Row | None = None
    more = True
    while more:
        rows, more = await store.scan(table, Range(tenant, after=after, limit=limits.DIFF_PAGE))
        for row in rows:
            if row.value:  # empty: the tombstone of an inline row
                yield row
        after = rows[-1] if rows else None
