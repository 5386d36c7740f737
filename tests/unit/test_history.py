"""The lock file: the same bytes for the same shapes, and a clear word on everything that is none."""

import contextlib
import json
from enum import Enum

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import event, limits
from foldlog.errors import FoldlogError, Invalid, TooLarge
from foldlog.model.event import stored
from foldlog.model.formed import form_of
from foldlog.model.history import History, Kept, Key, read_history, write_history


class Colour(Enum):
    RED = "red"


class Row(msgspec.Struct, frozen=True, array_like=True, tag=7):
    b: int
    a: "Row | None" = None


@event("thing.seen", tags=("owner",))
class Seen:
    owner: str
    colour: Colour
    rows: list[Row]


SEEN = form_of(Seen, stored(Seen))
HISTORY = History(
    {
        Key("event", "thing.seen", 10): (Kept(SEEN, given_up=True), Kept(SEEN)),
        Key("event", "thing.seen", 2): (Kept(SEEN),),
        Key("command", "thing.look", 1): (Kept(SEEN),),
    }
)
TEXT = write_history(HISTORY)


def test_what_is_written_is_read():
    assert read_history(TEXT) == HISTORY
    assert read_history(write_history(History({}))) == History({})


def test_the_file_is_stable_sorted_and_has_a_field_a_line():
    turned = History(dict(reversed(HISTORY.kept.items())))
    assert write_history(turned) == TEXT
    lines = TEXT.decode().splitlines()
    assert '            "owner": "str",' in lines
    assert [line.strip() for line in lines if line.startswith('      "')] == ['"2": [', '"10": [', '"1": [']
    assert json.loads(TEXT)["format"] == 1
    assert TEXT.isascii()
    assert TEXT.endswith(b"}\n")


def test_live_shapes_are_those_that_nobody_gave_up():
    assert HISTORY.live(Key("event", "thing.seen", 10)) == (SEEN,)
    assert HISTORY.live(Key("event", "thing.seen", 3)) == ()


def changed(*path, to):
    """The file with one place changed; `...` removes it."""
    raw = json.loads(TEXT)
    here = raw
    for step in path[:-1]:
        here = here[step]
    if to is ...:
        del here[path[-1]]
    else:
        here[path[-1]] = to
    return json.dumps(raw).encode()


SHAPE = ("events", "thing.seen", "2", 0)
BROKEN = {
    "empty": (b"", "not acceptable as JSON.*take it from version control again"),
    "truncated": (TEXT[:-40], "not acceptable as JSON"),
    "not UTF-8": (b"\xff" + TEXT, "not acceptable as JSON"),
    "a key twice": (TEXT.replace(b'"commands"', b'"events"'), "a key stands twice"),
    "too deep": (b"[" * 100 + b"]" * 100, "nested deeper than 64"),
    "merge": (TEXT.replace(b"  ", b"<<<<<<< HEAD\n", 1), "marks of a merge .* keep the shapes of both sides"),
    "merge, middle": (TEXT + b"=======\r\n", "marks of a merge"),
    "a list": (b"[]", "the lock file must be a JSON object"),
    "no format": (changed("format", to=...), "it says no format"),
    "a text as format": (changed("format", to="1"), "it says no format"),
    "a newer format": (changed("format", to=2), "of format 2, this foldlog reads 1: install a newer foldlog"),
    "an unknown section": (changed("rows", to={}), "the lock file: unknown entry 'rows'"),
    "events as list": (changed("events", to=[]), "events must be a JSON object"),
    "a hostile name": (changed("events", "../../etc", to={}), "bad stored name '../../etc'"),
    "an escape in a name": (changed("events", "a\x1b[2J", to={}), r"bad stored name 'a\\x1b\[2J'"),
    "versions as list": (changed("events", "thing.seen", to=[]), "event thing.seen must be a JSON object"),
    "version 0": (changed("events", "thing.seen", "0", to=[]), "'0' is no version"),
    "version 01": (changed("events", "thing.seen", "01", to=[]), "'01' is no version"),
    "version in other digits": (changed("events", "thing.seen", "\u0661", to=[]), "is no version"),
    "version empty": (changed("events", "thing.seen", "", to=[]), "is no version"),
    "version 2**31": (changed("events", "thing.seen", "2147483648", to=[]), "is no version"),
    "no shapes": (changed("events", "thing.seen", "2", to=[]), "version 2: write a list of 1 to 1,000 shapes"),
    "many shapes": (changed("events", "thing.seen", "2", to=[{}] * 1001), "a list of 1 to 1,000 shapes"),
    "a shape as text": (changed(*SHAPE, to="x"), "version 2, shape 1 must be a JSON object"),
    "no fields": (changed(*SHAPE, "fields", to=...), "shape 1, fields must be a JSON object"),
    "a bad field": (changed(*SHAPE, "fields", "owner", to="str | Nobody"), "field 'owner': .*'Nobody' is no type"),
    "a field as number": (changed(*SHAPE, "fields", "owner", to=5), "field 'owner': a field is a text"),
    "an unknown entry": (changed(*SHAPE, "colour", to=5), "shape 1: unknown entry 'colour'"),
    "tags as text": (changed(*SHAPE, "tags", to="owner"), "tags is a list"),
    "many tags": (changed(*SHAPE, "tags", to=["a"] * 17), "at most 16"),
    "given up perhaps": (changed(*SHAPE, "given_up", to="yes"), "given_up is true or false"),
    "classes as list": (changed(*SHAPE, "classes", to=[]), "classes must be a JSON object"),
    "a class named int": (changed(*SHAPE, "classes", "int", to={"values": []}), "'int' is no name for a class"),
    "a class named Self": (changed(*SHAPE, "classes", "Self", to={"values": []}), "'Self' is no name for a class"),
    "mixed values": (changed(*SHAPE, "classes", "Colour", "values", to=[1, "a"]), "class Colour: values is a list"),
    "bool values": (changed(*SHAPE, "classes", "Colour", "values", to=[True]), "class Colour: values is a list"),
    "another array": (changed(*SHAPE, "classes", "Row", "array", to="ring"), "array is 'struct' or 'tuple'"),
    "array without list": (changed(*SHAPE, "classes", "Row", "fields", to={}), "fields of an array are a list"),
    "not pairs": (changed(*SHAPE, "classes", "Row", "fields", to=[["a"]]), "a field is a name and a text"),
    "no pairs": (changed(*SHAPE, "classes", "Row", "fields", to=[5]), "a field is a name and a text"),
    "a field twice": (changed(*SHAPE, "classes", "Row", "fields", to=[["a", "int"]] * 2), "each name stands once"),
    "a tag as text": (changed(*SHAPE, "classes", "Row", "tag", to="x"), "tag is a field and its value"),
    "an empty tag": (changed(*SHAPE, "classes", "Row", "tag", to=[]), "tag is a field and its value"),
}


@pytest.mark.parametrize(("content", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_lock_file_is_refused_with_its_place(content, why):
    with pytest.raises(Invalid, match=f"(?s){why}"):
        read_history(content)


def test_a_file_beyond_the_limit_is_not_even_parsed():
    with pytest.raises(TooLarge, match="at most 16,777,216 bytes"):
        read_history(b" " * (limits.LOCK_BYTES + 1))


@settings(deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.binary(max_size=3), st.integers(0, 9))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(place, instead, gone):
    with contextlib.suppress(FoldlogError):
        found = read_history(TEXT[:place] + instead + TEXT[place + gone :])
        assert read_history(write_history(found)) == found
