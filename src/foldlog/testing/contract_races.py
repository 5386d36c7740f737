"""Writers at the same time: who wins, and that nobody pays for a neighbour."""

import asyncio
from collections import defaultdict

from foldlog.errors import Conflict
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.model.stream import NONE
from foldlog.ports.store import Appended, Batch, Condition, Store
from foldlog.testing.contract_words import append, draft, needs_streams, needs_tags, put, read_all, version, write

WRITERS = 64


async def _race(store: Store, batches: list[Batch]) -> tuple[list[Appended], list[Conflict]]:
    """Commit all at once: who was answered, and who met a Conflict. Any other error fails the case."""
    answers = await asyncio.gather(*(store.commit(batch) for batch in batches), return_exceptions=True)
    won: list[Appended] = []
    lost: list[Conflict] = []
    for answer in answers:
        if isinstance(answer, Conflict):
            lost.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            won += answer
    return won, lost


async def of_writers_that_expect_one_version_exactly_one_wins(store: Store) -> None:
    await write(store, "cart-1", 3)
    won, lost = await _race(store, [Batch([append("cart-1", 2, expected=3)]) for _ in range(WRITERS)])
    assert [answer.version for answer in won] == [5]
    assert len(lost) == WRITERS - 1
    assert {(conflict.what, conflict.expected, conflict.actual) for conflict in lost} == {("cart-1", 3, 5)}
    assert len(await read_all(store)) == 5


async def writers_of_different_streams_all_win(store: Store) -> None:
    won, lost = await _race(store, [Batch([append(f"cart-{n}", 2, expected=NONE)]) for n in range(WRITERS)])
    assert not lost
    assert [answer.version for answer in won] == [2] * WRITERS
    assert len({event.position for event in await read_all(store)}) == 2 * WRITERS


async def writers_of_one_stream_that_expect_nothing_all_win(store: Store) -> None:
    won, lost = await _race(store, [Batch([append("cart-1", 2)]) for _ in range(WRITERS)])
    assert not lost
    assert sorted(answer.version for answer in won) == list(range(2, 2 * WRITERS + 1, 2))
    events = await read_all(store, Query(stream="cart-1"))
    assert [event.version for event in events] == list(range(1, 2 * WRITERS + 1))
    assert [event.body for event in events] == [b"0", b"1"] * WRITERS, "an append's events stay together"


async def losers_do_not_touch_their_neighbours(store: Store) -> None:
    await write(store, "cart-0", 1)
    good = [Batch([append(f"order-{n}", expected=NONE)], [put(f"good{n}")]) for n in range(WRITERS)]
    bad = [Batch([append("cart-0", expected=NONE)], [put(f"bad{n}")]) for n in range(WRITERS)]
    won, lost = await _race(store, [batch for pair in zip(good, bad, strict=True) for batch in pair])
    assert (len(won), len(lost)) == (WRITERS, WRITERS)
    assert len(await read_all(store)) == WRITERS + 1
    assert [await version(store, f"bad{n}") for n in range(WRITERS)] == [0] * WRITERS
    assert [await version(store, f"good{n}") for n in range(WRITERS)] == [1] * WRITERS


async def each_stream_keeps_its_order_in_the_log(store: Store) -> None:
    batches = [Batch([append(f"cart-{n % 7}", 1 + n % 3)]) for n in range(4 * WRITERS)]
    won, lost = await _race(store, batches)
    assert (len(won), len(lost)) == (4 * WRITERS, 0)
    seen: dict[str, list[int]] = defaultdict(list)
    for event in await read_all(store):
        seen[event.stream].append(event.version)
    assert all(versions == list(range(1, len(versions) + 1)) for versions in seen.values())
    assert sum(map(len, seen.values())) == sum(1 + n % 3 for n in range(4 * WRITERS))


async def of_writers_that_want_a_row_absent_exactly_one_wins(store: Store) -> None:
    batches = [Batch([append(f"cart-{n}")], [put("one", str(n).encode(), 0)]) for n in range(WRITERS)]
    won, lost = await _race(store, batches)
    assert len(won) == 1
    assert {conflict.row for conflict in lost} == {"plain/one"}
    (event,) = await read_all(store)
    assert (await store.get(put("one").table, [put("one").key]))[put("one").key].value == event.key.encode()


async def puts_of_one_row_are_all_counted(store: Store) -> None:
    await _race(store, [Batch(rows=[put("one", str(n).encode())]) for n in range(WRITERS)])
    assert await version(store, "one") == WRITERS


async def batches_of_many_streams_are_never_torn(store: Store) -> None:
    needs_streams(store, 2)
    both = [Batch([append("cart-1", expected=n), append("cart-2", expected=n)]) for n in range(4) for _ in range(8)]
    single = [Batch([append(f"order-{n}")]) for n in range(WRITERS)]
    won, _ = await _race(store, [*single, *both])
    counts = [len(await read_all(store, Query(stream=stream))) for stream in ("cart-1", "cart-2")]
    assert counts[0] == counts[1] >= 1
    assert len(won) == WRITERS + sum(counts)


async def of_writers_with_one_tag_condition_exactly_one_wins(store: Store) -> None:
    needs_tags(store)
    condition = Condition(Query(tags=("seat:1",)), await store.head())
    taken = [draft("taken", b"{}", "seat:1")]
    won, lost = await _race(store, [Batch([append(f"cart-{n}", taken, condition=condition)]) for n in range(WRITERS)])
    assert (len(won), len(lost)) == (1, WRITERS - 1)
    assert len(await read_all(store)) == 1


async def tag_conditions_see_neighbours_without_one(store: Store) -> None:
    needs_tags(store)
    condition = Condition(Query(tags=("seat:1",)), await store.head())
    taken = [draft("taken", b"{}", "seat:1")]
    plain = [Batch([append(f"order-{n}", taken)]) for n in range(4)]
    guarded = [Batch([append(f"cart-{n}", taken, condition=condition)]) for n in range(4)]
    won, _ = await _race(store, [batch for pair in zip(guarded, plain, strict=True) for batch in pair])
    events = await read_all(store)
    assert len(won) == len(events)
    assert sum(event.category == "order" for event in events) == 4
    assert "cart" not in [event.category for event in events[1:]], "only before anybody else"


async def losers_leave_the_tags_of_their_neighbours_alone(store: Store) -> None:
    needs_tags(store)
    await write(store, "cart-0", 1)
    batches = [Batch([append(f"cart-{n if n % 3 else 0}", _tagged(n), expected=NONE)]) for n in range(WRITERS)]
    won, lost = await _race(store, batches)
    assert (len(won), len(lost)) == (len([n for n in range(WRITERS) if n % 3]), len(range(0, WRITERS, 3)))
    for n in range(WRITERS):
        for i in (0, 1, 2):
            found = [event.body for event in await read_all(store, Query(tags=(f"n:{n}", f"i:{i}")))]
            assert found == ([f"{n}.{i}".encode()] if n % 3 else [])


def _tagged(n: int) -> list[Draft]:
    return [draft("seen", f"{n}.{i}".encode(), f"n:{n}", f"i:{i}") for i in range(3)]
