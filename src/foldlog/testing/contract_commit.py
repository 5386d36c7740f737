"""Appends: expected versions, what is stored of an event, all or nothing."""

from foldlog import limits
from foldlog.errors import Conflict
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.model.query import Query
from foldlog.model.stream import ANY, EXISTS, NONE
from foldlog.ports.store import Batch, Check, Delete, Store
from foldlog.testing.contract_words import (
    append,
    draft,
    needs_order,
    needs_streams,
    places,
    put,
    read_all,
    refuses,
    row,
    version,
    write,
)


async def versions_rise_from_1_without_gaps(store: Store) -> None:
    assert (await write(store, "cart-1")).version == 1
    assert (await write(store, "cart-1", 3)).version == 4
    assert (await write(store, "cart-2")).version == 1
    assert [e.version for e in await read_all(store, Query(stream="cart-1"))] == [1, 2, 3, 4]


async def positions_rise_in_the_order_of_commits(store: Store) -> None:
    needs_order(store)
    answers = [await write(store, stream, 2) for stream in ("cart-1", "cart-2", "cart-1", "order-1")]
    events = await read_all(store)
    positions = [event.position for event in events]
    assert positions == sorted(set(positions))
    assert [answer.position for answer in answers] == positions[1::2]
    assert places(events)[:4] == ["cart-1@1", "cart-1@2", "cart-2@1", "cart-2@2"]


async def any_takes_whatever_is_there(store: Store) -> None:
    assert (await write(store, "cart-1", expected=ANY)).version == 1
    assert (await write(store, "cart-1", expected=ANY)).version == 2


async def none_wants_a_stream_without_events(store: Store) -> None:
    assert (await write(store, "cart-1", 2, expected=NONE)).version == 2
    conflict = await refuses(Conflict, store, Batch([append("cart-1", expected=NONE)]))
    assert (conflict.what, conflict.expected, conflict.actual, conflict.row) == ("cart-1", NONE, 2, "")


async def exists_wants_an_event(store: Store) -> None:
    conflict = await refuses(Conflict, store, Batch([append("cart-1", expected=EXISTS)]))
    assert (conflict.what, conflict.expected, conflict.actual) == ("cart-1", EXISTS, 0)
    await write(store, "cart-1")
    assert (await write(store, "cart-1", expected=EXISTS)).version == 2


async def a_number_wants_exactly_that_version(store: Store) -> None:
    await write(store, "cart-1", 3)
    for expected in (1, 2, 4, 2**63 - 1):
        conflict = await refuses(Conflict, store, Batch([append("cart-1", expected=expected)]))
        assert (conflict.what, conflict.expected, conflict.actual) == ("cart-1", expected, 3)
    assert (await write(store, "cart-1", 2, expected=3)).version == 5
    await refuses(Conflict, store, Batch([append("cart-2", expected=1)]))


async def a_conflict_leaves_no_gap_in_versions(store: Store) -> None:
    first = await write(store, "cart-1")
    await refuses(Conflict, store, Batch([append("cart-1", 5, expected=NONE)]))
    second = await write(store, "cart-1")
    assert second.version == 2
    if store.capabilities.order and first.position is not None:
        assert second.position is not None
        assert second.position > first.position


async def an_event_is_read_as_it_was_written(store: Store) -> None:
    meta = Meta(
        command="c1",
        index=3,
        correlation="k",
        causation="w",
        actor="ann",
        traceparent="00-ab-cd-01",
        occurred=-5,
        headers={"unknown": {"deep": [1, None, "ü"]}},
    )
    written = Draft("shop.cart/paid:v", 7, '{"a":"é\u0000"}'.encode(), encode_meta(meta), (), "json")
    answer = await write(store, "cart-ä-ö/1", [written], tenant="a")
    (event,) = await read_all(store)
    assert (event.stream, event.category, event.key, event.tenant) == ("cart-ä-ö/1", "cart", "ä-ö/1", "a")
    assert (event.type, event.schema, event.encoding, event.body) == (written.type, 7, "json", written.body)
    assert (event.meta, event.raw_meta, event.version, event.time) == (meta, written.meta, 1, answer.time)
    assert event.position == answer.position or answer.position is None


async def bodies_are_bytes(store: Store) -> None:
    bodies = [b"", bytes(range(256)), b"\xff\xfe\x00", b"\x00" * 10, b"\xed\xa0\x80"]
    await write(store, "cart-1", [draft(body=body, encoding="zstd") for body in bodies])
    events = await read_all(store)
    assert [event.body for event in events] == bodies
    assert {event.encoding for event in events} == {"zstd"}


async def an_own_id_is_kept_and_another_is_derived(store: Store) -> None:
    own = Draft("seen", 1, b"{}", encode_meta(Meta(id="my-id")))
    derived = [Draft("seen", 1, b"{}", encode_meta(Meta(command="c", index=index))) for index in range(2)]
    await write(store, "cart-1", [own, *derived])
    ids = [event.id for event in await read_all(store)]
    assert ids[0] == "my-id"
    assert len(set(ids)) == 3


async def keys_are_compared_byte_by_byte(store: Store) -> None:
    keys = ["e\u0301", "\u00e9", "A", "a", " a", "a ", "-", "'\";--", "%_*?[", "\U0001f600", "x" * limits.KEY_BYTES]
    for number, name in enumerate(keys):
        await write(store, f"cart-{name}", [draft(body=str(number).encode())], expected=NONE)
    for number, name in enumerate(keys):
        (event,) = await read_all(store, Query(stream=f"cart-{name}"))
        assert (event.key, event.body) == (name, str(number).encode())


async def events_of_one_sort_share_their_kind(store: Store) -> None:
    await write(store, "cart-1", [draft("paid"), draft("sent"), draft("paid")])
    first, other, second = await read_all(store)
    assert first.kind is second.kind
    assert first.kind is not other.kind


async def the_time_of_recording_never_goes_back(store: Store) -> None:
    needs_order(store)
    answers = [await write(store, f"cart-{number % 3}") for number in range(20)]
    times = [event.time for event in await read_all(store)]
    assert times == sorted(times) == [answer.time for answer in answers]
    assert times[0] > 1_577_836_800_000_000, "microseconds since 1970"


async def the_longest_body_is_taken(store: Store) -> None:
    body = b"x" * limits.EVENT_BYTES
    await write(store, "cart-1", [draft(body=body[:-1]), draft(body=body)])
    assert [len(event.body) for event in await read_all(store)] == [limits.EVENT_BYTES - 1, limits.EVENT_BYTES]


async def a_large_append_gets_versions_in_a_row(store: Store) -> None:
    assert (await write(store, "cart-1", 2_000)).version == 2_000
    events = await read_all(store, Query(stream="cart-1"))
    assert [event.version for event in events] == list(range(1, 2_001))
    assert [event.body for event in events] == [str(number).encode() for number in range(2_000)]


async def many_streams_in_one_batch_are_answered_in_its_order(store: Store) -> None:
    needs_streams(store, 3)
    await write(store, "cart-2", 4)
    batch = Batch([append("cart-3", 2), append("cart-2", 1, expected=4), append("cart-1", 3, expected=NONE)])
    assert [answer.version for answer in await store.commit(batch)] == [2, 5, 3]
    assert sorted(places(await read_all(store)))[:3] == ["cart-1@1", "cart-1@2", "cart-1@3"]


async def as_many_streams_as_claimed_fit_into_one_batch(store: Store) -> None:
    count = min(store.capabilities.batch_streams, limits.BATCH_STREAMS)
    answers = await store.commit(Batch([append(f"cart-{number}", expected=NONE) for number in range(count)]))
    assert [answer.version for answer in answers] == [1] * count
    assert len(await read_all(store)) == count


async def one_conflict_of_many_streams_stores_nothing(store: Store) -> None:
    needs_streams(store, 3)
    await write(store, "cart-2", 2)
    batch = Batch([append("cart-1"), append("cart-2", expected=1), append("cart-3")])
    conflict = await refuses(Conflict, store, batch)
    assert (conflict.what, conflict.expected, conflict.actual) == ("cart-2", 1, 2)


async def events_and_rows_are_committed_together(store: Store) -> None:
    (answer,) = await store.commit(Batch([append("cart-1", 2)], [put("one"), put("two", b"w", 0, position=9)]))
    assert answer.version == 2
    two = await row(store, "two")
    assert two is not None
    assert (two.value, two.version, two.position) == (b"w", 1, 9)
    assert await version(store, "one") == 1


async def a_stream_conflict_leaves_rows_alone(store: Store) -> None:
    await store.commit(Batch([append("cart-1")], [put("one", b"old")]))
    conflict = await refuses(Conflict, store, Batch([append("cart-1", expected=NONE)], [put("one"), put("two")]))
    assert conflict.row == ""


async def a_stream_conflict_leaves_unwanted_rows_alone(store: Store) -> None:
    await store.commit(Batch([append("cart-1")], [put("one", b"old")]))
    one = put("one")
    for change in (Check(one.table, one.key, 0), Delete(one.table, one.key, 0)):
        conflict = await refuses(Conflict, store, Batch([append("cart-1", expected=NONE)], [change]))
        assert (conflict.what, conflict.row) == ("cart-1", "")


async def a_row_conflict_leaves_events_alone(store: Store) -> None:
    await store.commit(Batch([append("cart-1")], [put("one", b"old")]))
    batch = Batch([append("cart-1", expected=1)], [put("two"), put("one", if_version=0)])
    conflict = await refuses(Conflict, store, batch)
    assert (conflict.what, conflict.expected, conflict.actual, conflict.row) == ("plain/one", 0, 1, "plain/one")


async def a_check_guards_an_append(store: Store) -> None:
    await store.commit(Batch(rows=[put("one")]))
    one = put("one").key
    await store.commit(Batch([append("cart-1")], [Check(put("one").table, one, 1)]))
    await refuses(Conflict, store, Batch([append("cart-1")], [Check(put("one").table, one, 2)]))
    assert await version(store, "one") == 1
