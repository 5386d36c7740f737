"""Two tables compared row by row, by pages."""

import asyncio
import random

import pytest

from foldlog.connect import connect
from foldlog.errors import Invalid
from foldlog.flow.difference import differences
from foldlog.model.message import Kind
from foldlog.ports.store import Batch, Put, RowKey, Table

ONE, TWO = Table("view.x.1"), Table("view.x.2", indexes=("n",))


async def put(store, table, rows, tenant=""):
    index = (None,) * len(table.indexes)
    changes = [Put(table, RowKey(tenant, key), value, index=index) for key, value in rows.items()]
    if changes:
        await store.commit(Batch(rows=changes))


async def compared(url, first, second, tenant=""):
    store = connect(url, Kind, lambda: 0)
    await store.open()
    await put(store, ONE, first)
    await put(store, TWO, second)
    found = [tuple(one) async for one in differences(store, ONE, TWO, tenant)]
    await store.close()
    return found


@pytest.mark.parametrize("page", [1, 2, 1_000])
def test_each_kind_of_difference_is_found_in_order(url, monkeypatch, page):
    monkeypatch.setattr("foldlog.limits.DIFF_PAGE", page)
    first = {"a": b"1", "b": b"2", "d": b'{"x":1,"y":2}', "e": b"1", "f": b"", "z": b"9"}
    second = {"a": b"1", "c": b"3", "d": b'{"y":2,"x":1}', "e": b"1.0", "g": b""}
    assert asyncio.run(compared(url, first, second)) == [
        ("b", "missing", 2, None),
        ("c", "new", None, 3),
        ("e", "changed", 1, 1.0),
        ("z", "missing", 9, None),
    ]


def test_random_tables_differ_where_dictionaries_do(url, monkeypatch):
    monkeypatch.setattr("foldlog.limits.DIFF_PAGE", 3)
    chance = random.Random(5)
    first, second = (
        {chance.choice("abcdefghijäß𝄞") * chance.randint(1, 3): b"%d" % chance.randint(0, 2) for _ in range(30)}
        for _ in range(2)
    )
    found = {key: kind for key, kind, _, _ in asyncio.run(compared(url, first, second))}
    expected = {
        key: "new" if key not in first else "missing" if key not in second else "changed"
        for key in {*first, *second}
        if first.get(key) != second.get(key)
    }
    assert found == expected


def test_a_comparison_is_of_one_tenant(url):
    assert asyncio.run(compared(url, {"a": b"1"}, {}, tenant="acme")) == []
    with pytest.raises(Invalid):
        asyncio.run(compared(url, {}, {}, tenant="no tenant\n"))
