"""Scans: rows in the order of the key or of an index, within bounds, in pages, forward and backward."""

import random

import pytest

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.ports.store import Delete, IndexValue, Range, Row, Store
from foldlog.testing.contract_words import INDEXED, PLAIN, change, key, put, row, scan_all, sized

_MIXED: list[IndexValue] = [
    *(None, -(2**63), -1.5, -1, 0, 0.5, 1, 2**53, 2**53 + 1, 2**63 - 1, 1e300),
    *("", " ", "1", "A", "Z", "a", "aa", "b", "\u00e9", "\uffff", "\U0001f600"),
]


async def rows_come_in_the_order_of_their_keys(store: Store) -> None:
    names = ["b", "a", "B", "aa", "\u00e9", "z", "\uffff", "\U0001f600", "10", "9", "-"]
    await change(store, *(put(name) for name in names))
    whole = sorted(names)
    for limit in (1, 2, 3, 11, 100):
        assert await scan_all(store, PLAIN, limit) == whole
        assert await scan_all(store, PLAIN, limit, backward=True) == whole[::-1]


async def keys_are_bounded_on_both_ends(store: Store) -> None:
    await change(store, *(put(name) for name in "abcdef"))
    assert await scan_all(store, PLAIN, low="b", high="d") == ["b", "c", "d"]
    assert await scan_all(store, PLAIN, low="bb") == ["c", "d", "e", "f"]
    assert await scan_all(store, PLAIN, high="bb") == ["a", "b"]
    assert await scan_all(store, PLAIN, 1, low="b", high="d", backward=True) == ["d", "c", "b"]
    assert await scan_all(store, PLAIN, low="d", high="b") == []
    assert await scan_all(store, PLAIN, low="c", high="c") == ["c"]


async def an_index_sorts_none_numbers_texts(store: Store) -> None:
    order = [f"r{number:02}" for number in range(len(_MIXED))]
    rows = [sized(name, value) for name, value in zip(order, _MIXED, strict=True)]
    random.Random(1).shuffle(rows)  # noqa: S311 - a seeded order of writing, no secret
    await change(store, *rows)
    for limit in (1, 4, 100):
        assert await scan_all(store, INDEXED, limit, index="size") == order
        assert await scan_all(store, INDEXED, limit, index="size", backward=True) == order[::-1]


async def index_values_come_back_as_they_were(store: Store) -> None:
    await change(store, *(sized(str(number), value, value) for number, value in enumerate(_MIXED)))
    for number, value in enumerate(_MIXED):
        found = await row(store, str(number), INDEXED)
        assert found is not None
        assert found.index == (value, value)
        assert [type(one) for one in found.index] == [type(value)] * 2


async def equal_index_values_come_in_the_order_of_their_keys(store: Store) -> None:
    await change(store, sized("c", 1), sized("a", 1), sized("b", 1.0), sized("d", 0), sized("e", "1"))
    assert await scan_all(store, INDEXED, 1, index="size") == ["d", "a", "b", "c", "e"]
    assert await scan_all(store, INDEXED, 1, index="size", backward=True) == ["e", "c", "b", "a", "d"]
    assert await scan_all(store, INDEXED, index="size", low=1, high=1) == ["a", "b", "c"]


async def index_values_are_bounded_on_both_ends(store: Store) -> None:
    values: list[IndexValue] = [None, -3, 0, 2.5, 7, "a", "b", "c"]
    await change(store, *(sized(f"r{number}", value) for number, value in enumerate(values)))
    found = {
        (0, 7): ["r2", "r3", "r4"],
        (2.5, "b"): ["r3", "r4", "r5", "r6"],
        ("b", None): ["r6", "r7"],
        (-(2**62), None): ["r1", "r2", "r3", "r4", "r5", "r6", "r7"],
        (None, 2): ["r1", "r2"],
        (None, "a"): ["r1", "r2", "r3", "r4", "r5"],
        ("x", None): [],
        (8, 100): [],
    }
    for (low, high), rows in found.items():
        for limit in (1, 2, 100):
            assert await scan_all(store, INDEXED, limit, index="size", low=low, high=high) == rows
            backward = await scan_all(store, INDEXED, limit, index="size", low=low, high=high, backward=True)
            assert backward == rows[::-1]


async def each_index_has_its_own_order(store: Store) -> None:
    await change(store, sized("a", 3, "x"), sized("b", 2, "z"), sized("c", 1, "y"))
    assert await scan_all(store, INDEXED, index="size") == ["c", "b", "a"]
    assert await scan_all(store, INDEXED, index="label") == ["a", "c", "b"]
    assert await scan_all(store, INDEXED) == ["a", "b", "c"]


async def an_index_follows_its_rows(store: Store) -> None:
    await change(store, sized("a", 1), sized("b", 2), sized("c", 3))
    await change(store, sized("a", 9), sized("b", None), Delete(INDEXED, key("c")))
    assert await scan_all(store, INDEXED, index="size") == ["b", "a"]
    assert await scan_all(store, INDEXED, index="size", low=1, high=3) == []


async def a_scan_reads_on_behind_a_row_that_has_gone(store: Store) -> None:
    await change(store, *(sized(name, 1) for name in "abcd"))
    page = await store.scan(INDEXED, Range(index="size", limit=2))
    await change(store, Delete(INDEXED, key("b")), sized("a", 5))
    assert await scan_all(store, INDEXED, index="size", after=page.rows[-1]) == ["c", "d", "a"]
    assert await scan_all(store, INDEXED, after=page.rows[-1]) == ["c", "d"]
    assert await scan_all(store, INDEXED, after=page.rows[-1], backward=True) == ["a"]


async def bounds_and_reading_on_go_together(store: Store) -> None:
    await change(store, *(sized(f"r{number}", number // 2) for number in range(10)))
    after = await row(store, "r4", INDEXED)
    assert await scan_all(store, INDEXED, 2, index="size", low=1, high=3, after=after) == ["r5", "r6", "r7"]
    backward = await scan_all(store, INDEXED, 2, index="size", low=1, high=3, after=after, backward=True)
    assert backward == ["r3", "r2"]
    outside = await row(store, "r0", INDEXED)
    assert await scan_all(store, INDEXED, 1, index="size", low=4, after=outside) == ["r8", "r9"]


async def more_says_whether_rows_are_left(store: Store) -> None:
    await change(store, *(sized(name, name) for name in "abcd"))
    for index in (None, "size"):
        for backward in (False, True):
            assert (await store.scan(INDEXED, Range(index=index, limit=3, backward=backward))).more
            assert not (await store.scan(INDEXED, Range(index=index, limit=5, backward=backward))).more


async def a_scan_stays_in_its_tenant(store: Store) -> None:
    await change(store, sized("a", 1), sized("b", 2, tenant="a"), sized("c", 3, tenant="b"), sized("d", 4))
    for index in (None, "size"):
        for limit in (1, 10):
            assert await scan_all(store, INDEXED, limit, index=index) == ["a", "d"]
            assert await scan_all(store, INDEXED, limit, index=index, tenant="a") == ["b"]
            assert await scan_all(store, INDEXED, limit, index=index, tenant="c", backward=True) == []


async def a_bad_range_is_refused(store: Store) -> None:
    await change(store, sized("a", 1))
    bad = [
        *(Range(index="colour"), Range(index=""), Range(limit=0), Range(limit=-1), Range(limit=limits.FIND_MAX + 1)),
        *(Range(low=1), Range(high=1.5), Range("Not A Tenant"), Range(index="size", low=float("nan"))),
        *(Range(index="size", high=2**63), Range(low="\ud800"), Range(high="a\0")),
        *(Range(after=Row(key(name), b"", 1)) for name in ("\ud800", "a\0", "")),
        *(Range(index="size", after=Row(key("a"), b"", 1, 0, (size, None))) for size in ("\ud800", 2**63)),
    ]
    for one in bad:
        with pytest.raises(Invalid):
            await store.scan(INDEXED, one)
    with pytest.raises(Invalid):
        await store.scan(PLAIN, Range(index="size"))
    assert await scan_all(store, INDEXED) == ["a"]
