"""Tags: queries by them, and appends on the condition that nothing new matches."""

from foldlog import limits
from foldlog.errors import Conflict
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Condition, Store
from foldlog.testing.contract_words import (
    append,
    draft,
    needs_streams,
    needs_tags,
    places,
    put,
    read_all,
    refuses,
    write,
)


async def _show(store: Store) -> None:
    needs_tags(store)
    await write(store, "seat-1", [draft("taken", b"{}", "show:7", "guest:ann"), draft("left", b"{}", "show:7")])
    await write(store, "seat-2", [draft("taken", b"{}", "show:7", "guest:bob"), draft("plain")])
    await write(store, "seat-3", [draft("taken", b"{}", "show:8", "guest:ann")])


async def all_tags_must_be_there(store: Store) -> None:
    await _show(store)
    assert places(await read_all(store, Query(tags=("show:7",)))) == ["seat-1@1", "seat-1@2", "seat-2@1"]
    assert places(await read_all(store, Query(tags=("guest:ann",)))) == ["seat-1@1", "seat-3@1"]
    assert places(await read_all(store, Query(tags=("guest:ann", "show:7")))) == ["seat-1@1"]
    assert await read_all(store, Query(tags=("guest:bob", "show:8"))) == []
    assert await read_all(store, Query(tags=("guest:cat",))) == []


async def tags_join_with_everything_else(store: Store) -> None:
    await _show(store)
    assert places(await read_all(store, Query(tags=("show:7",), types=("taken",)))) == ["seat-1@1", "seat-2@1"]
    assert places(await read_all(store, Query(tags=("show:7",), stream="seat-1", types=("left",)))) == ["seat-1@2"]
    assert places(await read_all(store, Query(tags=("show:7",), category="seat", types=("left",)))) == ["seat-1@2"]
    assert await read_all(store, Query(tags=("show:7",), category="row")) == []


async def either_side_matches_by_tags(store: Store) -> None:
    await _show(store)
    query = Query(tags=("show:8",)) | Query(tags=("guest:ann",)) | Query(types=("left",), tenant="")
    whole = ["seat-1@1", "seat-1@2", "seat-3@1"]
    for limit in (1, 2, 3, 10):
        assert places(await read_all(store, query, limit=limit)) == whole
        assert places(await read_all(store, query, limit=limit, backward=True)) == whole[::-1]


async def tags_are_paged_like_everything(store: Store) -> None:
    needs_tags(store)
    for number in range(10):
        await write(store, f"seat-{number}", [draft("taken", b"{}", "show:7", f"odd:{number % 2}")])
    query = Query(tags=("show:7", "odd:1"))
    whole = [f"seat-{number}@1" for number in (1, 3, 5, 7, 9)]
    for limit in range(1, 7):
        assert places(await read_all(store, query, limit=limit)) == whole
        assert places(await read_all(store, query, limit=limit, backward=True)) == whole[::-1]


async def tags_belong_to_one_tenant(store: Store) -> None:
    needs_tags(store)
    await write(store, "seat-1", [draft("taken", b"{}", "show:7")], tenant="a")
    assert await read_all(store, Query(tags=("show:7",))) == []
    assert len(await read_all(store, Query(tags=("show:7",), tenant="a"))) == 1
    await write(store, "seat-1", condition=Condition(Query(tags=("show:7",)), 0))


async def a_tag_said_twice_counts_once(store: Store) -> None:
    needs_tags(store)
    await write(store, "seat-1", [draft("taken", b"{}", "show:7", "show:7")])
    assert len(await read_all(store, Query(tags=("show:7",)))) == 1


async def as_many_and_as_long_tags_as_allowed_are_taken(store: Store) -> None:
    needs_tags(store)
    tags = [f"{number:02}:".ljust(limits.TAG_BYTES, "x") for number in range(limits.TAGS)]
    await write(store, "seat-1", [draft("taken", b"{}", *tags)])
    (event,) = await read_all(store, Query(tags=tuple(tags)))
    assert event.tags == tuple(tags)


async def a_condition_holds_when_nothing_new_matches(store: Store) -> None:
    await _show(store)
    page = await store.read(Query(tags=("show:7",)))
    await write(store, "seat-4", [draft("taken", b"{}", "show:8")])
    condition = Condition(Query(tags=("show:7",)), page.head)
    done = await write(store, "seat-5", [draft("taken", b"{}", "show:7")], condition=condition)
    assert done.version == 1


async def a_condition_fails_when_something_new_matches(store: Store) -> None:
    await _show(store)
    head = await store.head()
    new = await write(store, "seat-4", [draft("taken", b"{}", "show:7")])
    for query in (Query(tags=("show:7",)), Query(types=("taken",)), Query(tags=("show:7",), types=("taken", "left"))):
        conflict = await refuses(Conflict, store, Batch([append("seat-5", condition=Condition(query, head))]))
        assert (conflict.expected, conflict.actual, conflict.row) == (head, new.position, "")
    await write(store, "seat-5", condition=Condition(Query(types=("left",)), head))
    both = Query(tags=("guest:zoe",)) | Query(tags=("show:7",))
    await refuses(Conflict, store, Batch([append("seat-6", condition=Condition(both, head))]))


async def a_condition_from_the_start_sees_everything(store: Store) -> None:
    await _show(store)
    await refuses(Conflict, store, Batch([append("seat-5", condition=Condition(Query(tags=("show:8",)), 0))]))
    await write(store, "seat-5", condition=Condition(Query(tags=("show:9",)), 0))


async def a_condition_does_not_see_its_own_batch(store: Store) -> None:
    needs_tags(store)
    needs_streams(store, 2)
    taken = [draft("taken", b"{}", "seat:1")] * 2
    condition = Condition(Query(tags=("seat:1",)), 0)
    batch = Batch([append("seat-1", taken), append("seat-2", taken, condition=condition)])
    assert [answer.version for answer in await store.commit(batch)] == [2, 2]
    await refuses(Conflict, store, batch)


async def a_condition_and_a_version_must_both_hold(store: Store) -> None:
    await _show(store)
    holds, fails = Condition(Query(tags=("show:9",)), 0), Condition(Query(tags=("show:7",)), 0)
    await refuses(Conflict, store, Batch([append("seat-1", expected=2, condition=fails)], [put("one")]))
    await refuses(Conflict, store, Batch([append("seat-1", expected=1, condition=holds)], [put("one")]))
    await store.commit(Batch([Append("seat-1", [draft()], 2, "", holds)], [put("one")]))
