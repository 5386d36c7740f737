"""Queries and pages: what matches, in which order, and that pages of any size come to the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.model.message import to_datetime
from foldlog.model.query import Query
from foldlog.ports.store import Store
from foldlog.testing.contract_words import draft, needs_order, needs_tags, places, read_all, write


async def _shop(store: Store) -> None:
    """Twelve events of two categories, three types and two tenants."""
    for number in range(3):
        await write(store, "cart-1", [draft("added"), draft("paid")])
        await write(store, "order-1", [draft("sent")])
        await write(store, "cart-2", [draft("added")], tenant="a" if number == 2 else "")


async def an_empty_log_has_nothing_to_read(store: Store) -> None:
    for query in (Query(), Query(stream="cart-1"), Query(category="cart"), Query(types=("paid",))):
        for backward in (False, True):
            page = await store.read(query, backward=backward)
            assert page == ([], False, 0)


async def everything_is_read_in_order(store: Store) -> None:
    await _shop(store)
    assert len(await read_all(store)) == 12
    one_by_one = places(await read_all(store, limit=1))
    assert one_by_one == places(await read_all(store))


async def a_stream_is_read_by_version(store: Store) -> None:
    await _shop(store)
    query = Query(stream="cart-1")
    assert [event.version for event in await read_all(store, query)] == [1, 2, 3, 4, 5, 6]
    assert [event.version for event in (await store.read(query, 4)).events] == [5, 6]
    assert [event.version for event in (await store.read(query, 2, 2)).events] == [3, 4]
    for after in (6, 7, 2**40):
        assert (await store.read(query, after)).events == []


async def a_stream_is_read_backward_from_a_version(store: Store) -> None:
    await _shop(store)
    query = Query(stream="cart-1")
    assert [event.version for event in (await store.read(query, backward=True)).events] == [6, 5, 4, 3, 2, 1]
    assert [event.version for event in (await store.read(query, 4, 2, backward=True)).events] == [3, 2]
    assert (await store.read(query, 1, backward=True)).events == []
    assert len((await store.read(query, 2**40, backward=True)).events) == 6


async def a_category_is_read_across_its_streams(store: Store) -> None:
    await _shop(store)
    found = places(await read_all(store, Query(category="cart")))
    assert len(found) == 9
    assert found == [place for place in places(await read_all(store)) if place.startswith("cart-")]
    assert await read_all(store, Query(category="car")) == []


async def a_category_is_not_a_prefix(store: Store) -> None:
    await write(store, "cart_old-1")
    await write(store, "cart-1")
    await write(store, "cart-1-2")
    assert places(await read_all(store, Query(category="cart"))) == ["cart-1@1", "cart-1-2@1"]
    assert places(await read_all(store, Query(stream="cart-1"))) == ["cart-1@1"]


async def types_are_any_of_them(store: Store) -> None:
    await _shop(store)
    assert len(await read_all(store, Query(types=("paid",)))) == 3
    assert len(await read_all(store, Query(types=("paid", "sent", "never")))) == 6
    assert len(await read_all(store, Query(category="cart", types=("added", "sent")))) == 6
    assert [e.version for e in await read_all(store, Query(stream="cart-1", types=("paid",)))] == [2, 4, 6]
    assert await read_all(store, Query(types=("never",))) == []


async def a_filtered_stream_is_paged_by_version(store: Store) -> None:
    await _shop(store)
    query = Query(stream="cart-1", types=("paid",))
    assert [event.version for event in (await store.read(query, 2)).events] == [4, 6]
    assert [event.version for event in await read_all(store, query, limit=1, backward=True)] == [6, 4, 2]


async def either_side_matches(store: Store) -> None:
    await _shop(store)
    query = Query(types=("paid",)) | Query(types=("sent",)) | Query(types=("sent", "paid"))
    found = await read_all(store, query)
    assert [event.type for event in found] == ["paid", "sent"] * 3, "each once, in order"
    assert [event.type for event in await read_all(store, query, limit=1, backward=True)] == ["sent", "paid"] * 3


async def tenants_never_mix(store: Store) -> None:
    for tenant in ("", "a", "b"):
        await write(store, "cart-1", [draft(body=tenant.encode())] * 2, expected=0, tenant=tenant)
    for tenant in ("", "a", "b"):
        for query in (Query(stream="cart-1"), Query(category="cart"), Query(types=("seen",)), Query()):
            found = await read_all(store, replace(query, tenant=tenant))
            assert [event.body for event in found] == [tenant.encode()] * 2
            assert {event.tenant for event in found} == {tenant}
    assert [event.tenant for event in await read_all(store, Query(category="cart"))] == ["", "", "a", "a", "b", "b"]
    assert await read_all(store, Query(stream="cart-1", tenant="c")) == []


async def the_time_of_recording_bounds_a_query(store: Store) -> None:
    answers = [await write(store, "cart-1") for _ in range(3)]
    first, last = to_datetime(answers[0].time), to_datetime(answers[-1].time)
    tick = timedelta(microseconds=1)
    assert len(await read_all(store, Query(since=first, until=last))) == 3
    assert len(await read_all(store, Query(stream="cart-1", since=first, until=last))) == 3
    assert await read_all(store, Query(since=last + tick)) == []
    assert await read_all(store, Query(until=first - tick)) == []
    middle = [answer for answer in answers if answer.time == answers[1].time]
    moment = to_datetime(answers[1].time)
    assert len(await read_all(store, Query(since=moment, until=moment))) == len(middle)
    assert len(await read_all(store, Query(since=datetime(1, 1, 1, tzinfo=UTC)))) == 3
    assert len(await read_all(store, Query(until=datetime(9999, 12, 31, tzinfo=UTC)))) == 3


async def pages_of_every_size_come_to_the_same(store: Store) -> None:
    await _shop(store)
    queries = (Query(), Query(stream="cart-1"), Query(category="cart"), Query(types=("paid", "sent")), Query(tenant=""))
    for query in queries:
        whole = places(await read_all(store, query))
        assert whole
        for limit in range(1, len(whole) + 2):
            assert places(await read_all(store, query, limit=limit)) == whole
            assert places(await read_all(store, query, limit=limit, backward=True)) == whole[::-1]


async def after_is_left_out(store: Store) -> None:
    needs_order(store)
    await _shop(store)
    events = await read_all(store)
    for index, event in enumerate(events):
        behind = (await store.read(Query(), event.position)).events
        before = (await store.read(Query(), event.position, backward=True)).events
        assert places(behind) == places(events[index + 1 :])
        assert places(before) == places(events[:index][::-1])


async def more_says_whether_something_is_left(store: Store) -> None:
    await write(store, "cart-1", 3)
    await write(store, "order-1", 3)
    for query in (Query(), Query(category="cart"), Query(stream="cart-1")):
        for backward in (False, True):
            assert (await store.read(query, limit=2, backward=backward)).more
            assert not (await store.read(query, limit=10, backward=backward)).more
    assert not (await store.read(Query(), 2**62)).more


async def a_page_knows_the_safe_head(store: Store) -> None:
    needs_order(store)
    await write(store, "cart-1")
    last = await write(store, "order-1", 2)
    for query in (Query(), Query(stream="cart-1"), Query(types=("never",)), Query(category="cart")):
        for limit in (1, 10):
            assert (await store.read(query, limit=limit)).head == last.position == await store.head()


async def a_reader_that_filters_can_jump_to_the_head(store: Store) -> None:
    needs_order(store)
    await write(store, "cart-1", [draft("paid")])
    await write(store, "order-1", 5)
    page = await store.read(Query(types=("paid",)))
    assert not page.more
    await write(store, "cart-1", [draft("paid")])
    assert [event.version for event in (await store.read(Query(types=("paid",)), page.head)).events] == [2]


async def a_page_of_large_bodies_ends_early(store: Store) -> None:
    count = limits.PAGE_BYTES // limits.EVENT_BYTES + 4
    for number in range(count):
        await write(store, "cart-1", [draft(body=str(number).encode().ljust(limits.EVENT_BYTES))])
    for query in (Query(), Query(stream="cart-1")):
        for backward in (False, True):
            page = await store.read(query, backward=backward)
            assert page.more
            assert sum(len(event.body) for event in page.events) <= limits.PAGE_BYTES
            whole = await read_all(store, query, backward=backward)
            numbers = [int(event.body) for event in whole]
            assert numbers == (list(range(count))[::-1] if backward else list(range(count)))


async def a_bad_place_to_read_on_behind_is_refused(store: Store) -> None:
    await write(store, "cart-1")
    bad: list[Any] = [-1, 2**63, 2**70, True, 1.5, None]
    for after in bad:
        for query in (Query(), Query(stream="cart-1")):
            for backward in (False, True):
                with pytest.raises(Invalid):
                    await store.read(query, after, backward=backward)
    assert (await store.read(Query(), 2**63 - 1)).events == []


async def the_largest_query_is_read(store: Store) -> None:
    needs_tags(store)
    await write(store, "cart-1", [draft("seen", b"{}", "a:0", "b:1")])
    every = tuple(f"a:{number}" for number in range(limits.TAGS))
    sides = [Query(tags=tuple(f"{tag}{number}" for tag in every)) for number in range(limits.QUERY_SIDES - 1)]
    any_of = (*sides, Query(tags=("b:1",)))
    types = ("seen", *(f"t{number}" for number in range(limits.QUERY_TYPES - 1)))
    for stream in (None, "cart-1"):
        assert len((await store.read(Query(stream=stream, types=types, any_of=any_of))).events) == 1
        assert (await store.read(Query(stream=stream, types=types, tags=every, any_of=any_of))).events == []


async def a_bad_limit_is_refused(store: Store) -> None:
    await write(store, "cart-1")
    for limit in (0, -1, limits.PAGE_MAX + 1, 2**64):
        for query in (Query(), Query(stream="cart-1")):
            with pytest.raises(Invalid):
                await store.read(query, 0, limit)
    assert len((await store.read(Query(), 0, limits.PAGE_MAX)).events) == 1
