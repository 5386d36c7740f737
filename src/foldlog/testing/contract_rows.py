"""Rows: put, delete and check on condition of a version, expiry, and tables that come and go."""

from foldlog import limits
from foldlog.errors import Conflict
from foldlog.ports.store import Batch, Check, Delete, Row, RowChange, RowKey, Store, Table
from foldlog.testing.contract_words import (
    EXPIRING,
    FAR,
    INDEXED,
    PAST,
    PLAIN,
    change,
    key,
    put,
    refuses,
    row,
    scan_all,
    sized,
    version,
)


async def a_table_without_rows_is_empty(store: Store) -> None:
    assert await store.get(PLAIN, [key("one")]) == {}
    assert await store.get(PLAIN, []) == {}
    assert await scan_all(store, INDEXED) == []
    assert await scan_all(store, INDEXED, index="size") == []


async def a_row_is_read_as_it_was_put(store: Store) -> None:
    await change(store, put("ä/1 x", bytes(range(256)), table=INDEXED, tenant="a", position=2**40, index=(2.5, "é")))
    found = await row(store, "ä/1 x", INDEXED, "a")
    assert found == Row(RowKey("a", "ä/1 x"), bytes(range(256)), 1, 2**40, (2.5, "é"))


async def a_put_replaces_the_whole_row(store: Store) -> None:
    await change(store, put("one", b"old", table=INDEXED, position=7, index=(1, "x")))
    await change(store, put("one", b"", table=INDEXED, position=3, index=(None, 5)))
    assert await row(store, "one", INDEXED) == Row(key("one"), b"", 2, 3, (None, 5))


async def get_finds_those_that_are_there(store: Store) -> None:
    await change(store, *(put(f"r{number}") for number in range(500)))
    wanted = [key(f"r{number}") for number in range(0, 1_500, 3)]
    found = await store.get(PLAIN, [*wanted, *wanted])
    assert set(found) == {key(f"r{number}") for number in range(0, 500, 3)}
    assert all(found[one].key == one for one in found)


async def the_largest_row_is_taken(store: Store) -> None:
    await change(store, put("one", b"x" * limits.ROW_BYTES))
    found = await row(store, "one")
    assert found is not None
    assert len(found.value) == limits.ROW_BYTES


async def versions_count_the_puts(store: Store) -> None:
    for number in range(1, 5):
        await change(store, put("one", str(number).encode()))
        assert await version(store, "one") == number


async def a_put_wants_its_version(store: Store) -> None:
    await change(store, put("one", b"1", 0))
    await change(store, put("one", b"2", 1))
    for wanted in (0, 1, 3):
        conflict = await refuses(Conflict, store, Batch(rows=[put("one", b"x", wanted)]))
        assert (conflict.what, conflict.expected, conflict.actual, conflict.row) == (
            "plain/one",
            wanted,
            2,
            "plain/one",
        )
    conflict = await refuses(Conflict, store, Batch(rows=[put("two", b"x", 1)]))
    assert (conflict.expected, conflict.actual) == (1, 0)


async def a_delete_removes_the_row(store: Store) -> None:
    await change(store, put("one"), put("two"))
    await change(store, Delete(PLAIN, key("one")))
    assert await version(store, "one") == 0
    assert await scan_all(store, PLAIN) == ["two"]
    await change(store, Delete(PLAIN, key("one")), Delete(PLAIN, key("never")))


async def a_delete_wants_its_version(store: Store) -> None:
    await change(store, put("one"))
    await change(store, put("one"))
    for wanted in (0, 1, 3):
        conflict = await refuses(Conflict, store, Batch(rows=[Delete(PLAIN, key("one"), wanted)]))
        assert (conflict.row, conflict.expected, conflict.actual) == ("plain/one", wanted, 2)
    await change(store, Delete(PLAIN, key("one"), 2))
    await refuses(Conflict, store, Batch(rows=[Delete(PLAIN, key("one"), 2)]))
    await change(store, Delete(PLAIN, key("one"), 0))


async def versions_begin_again_after_a_delete(store: Store) -> None:
    await change(store, put("one"))
    await change(store, put("one"))
    await change(store, Delete(PLAIN, key("one")))
    await change(store, put("one", b"new", 0))
    assert await version(store, "one") == 1


async def a_check_writes_nothing(store: Store) -> None:
    await change(store, put("one"))
    await change(store, Check(PLAIN, key("one"), 1), Check(PLAIN, key("two"), 0))
    assert (await version(store, "one"), await version(store, "two")) == (1, 0)
    for name, wanted, actual in (("one", 0, 1), ("one", 2, 1), ("two", 1, 0)):
        conflict = await refuses(Conflict, store, Batch(rows=[put("three"), Check(PLAIN, key(name), wanted)]))
        assert (conflict.row, conflict.expected, conflict.actual) == (f"plain/{name}", wanted, actual)


async def a_row_of_a_table_that_is_not_there_has_no_version(store: Store) -> None:
    absent = Table("absent")
    for wanting in (Check(absent, key("one"), 1), Delete(absent, key("one"), 1), put("one", b"x", 1, table=absent)):
        for beside in ([], [put("two")]):
            conflict = await refuses(Conflict, store, Batch(rows=[*beside, wanting]))
            assert (conflict.row, conflict.expected, conflict.actual) == ("absent/one", 1, 0)
    await change(store, Delete(absent, key("one")))


async def one_conflict_of_many_rows_stores_nothing(store: Store) -> None:
    await change(store, put("one"), put("two"))
    rows: list[RowChange] = [
        put("one", b"x"),
        Delete(PLAIN, key("two")),
        put("three"),
        put("one", b"x", 7, table=EXPIRING),
    ]
    conflict = await refuses(Conflict, store, Batch(rows=rows))
    assert conflict.row == "expiring/one"


async def many_rows_fit_into_one_batch(store: Store) -> None:
    await change(store, *(put(f"r{number:05}") for number in range(5_000)))
    assert await scan_all(store, PLAIN, limit=1_000) == [f"r{number:05}" for number in range(5_000)]


async def the_same_key_in_other_tables_and_tenants_is_another_row(store: Store) -> None:
    await change(store, put("one", b"p"), put("one", b"e", table=EXPIRING), put("one", b"a", tenant="a"))
    found = [await row(store, "one"), await row(store, "one", EXPIRING), await row(store, "one", tenant="a")]
    assert [one and one.value for one in found] == [b"p", b"e", b"a"]
    await change(store, Delete(PLAIN, key("one", "a"), 1))
    assert await version(store, "one") == 1
    assert await row(store, "one", tenant="a") is None


async def keys_of_rows_are_compared_byte_by_byte(store: Store) -> None:
    names = ["A", "a", " a", "a ", "e\u0301", "\u00e9", "%", "'", "1", "01", "x" * limits.KEY_BYTES]
    await change(store, *(put(name, name.encode(), 0) for name in names))
    found = await store.get(PLAIN, [key(name) for name in names])
    assert {one.key: row.value for one, row in found.items()} == {name: name.encode() for name in names}


async def an_expired_row_counts_as_absent(store: Store) -> None:
    await change(store, put("old", table=EXPIRING, expires=PAST), put("new", table=EXPIRING, expires=FAR))
    await change(store, put("ever", table=EXPIRING))
    assert [await version(store, name, EXPIRING) for name in ("old", "new", "ever")] == [0, 1, 1]
    assert await scan_all(store, EXPIRING) == ["ever", "new"]
    assert await scan_all(store, EXPIRING, limit=1, backward=True) == ["new", "ever"]


async def an_expired_row_counts_as_absent_in_conditions(store: Store) -> None:
    await change(store, put("old", table=EXPIRING, expires=PAST))
    await refuses(Conflict, store, Batch(rows=[Check(EXPIRING, key("old"), 1)]))
    await refuses(Conflict, store, Batch(rows=[put("old", b"x", 1, table=EXPIRING)]))
    await refuses(Conflict, store, Batch(rows=[Delete(EXPIRING, key("old"), 1)]))
    await change(store, Check(EXPIRING, key("old"), 0))
    await change(store, put("old", b"new", 0, table=EXPIRING, expires=FAR))
    assert await version(store, "old", EXPIRING) == 1
    await refuses(Conflict, store, Batch(rows=[put("old", b"x", 0, table=EXPIRING)]))


async def a_put_says_anew_when_a_row_expires(store: Store) -> None:
    await change(store, put("one", table=EXPIRING, expires=FAR), put("two", table=EXPIRING, expires=FAR))
    await change(store, put("one", table=EXPIRING), put("two", table=EXPIRING, expires=PAST))
    assert [await version(store, name, EXPIRING) for name in ("one", "two")] == [2, 0]


async def a_dropped_table_is_gone_and_may_come_again(store: Store) -> None:
    await change(store, sized("one", 1), put("one"), sized("two", 2, tenant="a"))
    await store.drop(INDEXED)
    await store.drop(INDEXED)
    await store.drop(Table("never.was"))
    assert await row(store, "one", INDEXED) is None
    assert await scan_all(store, INDEXED, index="size") == []
    assert await version(store, "one") == 1
    await change(store, put("one", b"new", 0, table=INDEXED, index=(3, None)))
    assert await scan_all(store, INDEXED, index="size") == ["one"]
    assert await version(store, "one", INDEXED) == 1
