"""Marks against a naive model: the checkpoint passes what is done or has a row, and nothing else."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import limits
from foldlog.flow.inbox import DEAD, DONE, Item, decode, told
from foldlog.flow.mark import Marks
from foldlog.ports.store import Put, Row

steps = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(1, 4)),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("park"), st.integers(0, 9)),
        st.tuples(st.just("feed"), st.integers(0, 4)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_marks(taken):
    marks = Marks("f", 10)
    cursor, checkpoint = 10, 10
    opened, done, plain = [], set(), set()
    rows = {}
    for step, number in taken:
        flying = [one for one in opened if one not in done]
        if step == "open":
            cursor += number
            for place in [(cursor, 0), (cursor, limits.KEY_STRIDE)][: number // 2 + 1]:  # some are for two keys
                marks.open(place)
                opened.append(place)
            marks.whole(cursor)
        elif step in {"finish", "park"} and flying:
            place = flying[number % len(flying)]
            marks.finish(place, plain=step == "finish")
            done.add(place)
            if step == "finish":
                plain.add(place)
        elif step == "feed":
            cursor += number
            marks.whole(cursor)
        elif step == "settle":
            changes = {}
            low = marks.settle(changes)
            assert low >= checkpoint
            checkpoint = low
            for key, change in changes.items():
                if isinstance(change, Put):
                    assert json.loads(change.value)["status"] == DONE
                    rows[key] = change.position, json.loads(change.value)["index"]
                else:
                    rows.pop(key)
            # After a restart, this is all that is known; everything plainly done must follow from it.
            assert set(rows.values()) == {one for one in plain if one[0] > checkpoint} == marks.written
        unfinished = [one for one in opened if one not in done]
        assert marks.low() == (unfinished[0][0] - 1 if unfinished else cursor)
        assert marks.opened() == len(opened[opened.index(unfinished[0]) :] if unfinished else [])


def test_an_event_that_is_not_taken_for_all_of_its_keys_yet_is_not_passed():
    marks = Marks("f", 10)
    marks.open((12, 0))
    marks.finish((12, 0), plain=True)
    assert marks.low() == marks.read_to() == 11
    marks.open((12, limits.KEY_STRIDE))
    marks.whole(12)
    assert marks.low() == 11
    marks.finish((12, limits.KEY_STRIDE), plain=True)
    assert marks.low() == 12


def test_an_item_comes_back_from_its_row():
    item = Item("handler.f", 7, 2, "k", "t", "a-1", 3, "a.b", DEAD, 4, 5, 6, "error", "c", "e", "who", partition=5)
    put = item.put()
    again = decode(Row(put.key, put.value, 3, put.position, put.index))
    assert put.index == ("handler.f/0000000000000000007", None)
    assert put.key.key == "handler.f/05/0000000000000000007/002"
    assert again.row == 3
    assert (again.function, again.position, again.index, again.status) == ("handler.f", 7, 2, DEAD)


def test_an_error_is_kept_as_text_that_can_be_stored():
    assert told("x" * 9_000) == "x" * limits.ERROR_CHARS
    assert told("a\udc80b") == "a?b"
    assert told(ValueError("a\udc80b")) == "ValueError: a?b\n"
