"""Forms as text: what a lock file says of a field is read as it was written, and nothing else is read."""

from dataclasses import field
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foldlog import command, event, limits
from foldlog.errors import Invalid, Misconfigured
from foldlog.model.event import Stored, stored
from foldlog.model.form import SELF, Field, Form, Object, Type, Values, canonical, free_name, parse_field
from foldlog.model.formed import form_of
from foldlog.testing.instances import bodies


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Mode(Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Cat(msgspec.Struct, frozen=True, tag="cat", omit_defaults=True):
    lives: int = 9


class Dog(msgspec.Struct, frozen=True, tag="dog", rename="camel", forbid_unknown_fields=True):
    good_boy: bool


class Row(msgspec.Struct, frozen=True, array_like=True):
    b: int
    a: str | msgspec.UnsetType = msgspec.UNSET


@event("thing.seen", version=3, tags=("owner",))
class Seen:
    owner: str
    amount: Annotated[int, msgspec.Meta(ge=0, description="in cents")]
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]'+$")]
    kind: Literal["b", "a"] | None
    pet: Cat | Dog
    rows: list[Row]
    pair: Pair
    day: date | None = None
    mode: Mode = Mode.READ
    colours: frozenset[Colour] = frozenset({Colour.RED, Colour.BLUE})
    price: Decimal = Decimal("1.50")
    span: timedelta = timedelta(days=1)
    many: tuple[int, ...] = (1, 2)
    two: tuple[int, str] = (1, "x")
    none: tuple[()] = ()
    raw: bytes = b"a"
    words: list[str] = field(default_factory=list)
    by_day: dict[date, "Seen | None"] = field(default_factory=dict)
    id: UUID = field(default_factory=uuid4)
    any: Any = None


FIELDS = {
    "owner": "str",
    "amount": "int(ge=0)",
    "code": 'str(pattern="^[a-z]\'+$")',
    "kind": "Literal['a', 'b'] | None",
    "pet": "Cat | Dog",
    "rows": "list[Row]",
    "pair": "Pair",
    "day": "date | None = None",
    "mode": "Mode = 1",
    "colours": "frozenset[Colour] = ['blue', 'red']",
    "price": "decimal = '1.50'",
    "span": "timedelta = 'P1D'",
    "many": "tuple[int, ...] = [1, 2]",
    "two": "tuple[int, str] = [1, 'x']",
    "none": "tuple[()] = []",
    "raw": "bytes = 'YQ=='",
    "words": "list[str] = []",
    "by_day": "dict[date, Self | None] = {}",
    "id": "uuid = ...",
    "any": "any = None",
}


def test_a_class_has_the_form_that_it_is_written_with():
    found = form_of(Seen, stored(Seen))
    assert {name: str(one) for name, one in found.own.fields.items()} == FIELDS
    assert found.tags == ("owner",)
    assert found.types["Colour"] == Values(("blue", "red"))
    assert found.types["Mode"] == Values((1, 2), flags=True)
    assert found.types["Cat"] == Object({"lives": parse_field("int = 9", ())}, ("type", "cat"), omits=True)
    assert found.types["Dog"] == Object({"goodBoy": parse_field("bool", ())}, ("type", "dog"), closed=True)
    rows = found.types["Row"]
    assert [(name, str(one)) for name, one in rows.fields.items()] == [("b", "int"), ("a", "str = unset")]
    assert rows.array == "struct"
    assert found.types["Pair"].array == "tuple"


@pytest.mark.parametrize("text", FIELDS.values())
def test_a_field_is_read_as_it_was_written(text):
    found = parse_field(text, {SELF, "Cat", "Dog", "Row", "Pair", "Mode", "Colour"})
    assert str(found) == text


def test_the_parts_of_a_field():
    assert parse_field("list[int | None](max_length=3) = []", ()) == Field(
        Type("list", (Type("|", (Type("int"), Type("None"))),), (("max_length", 3),)), "[]"
    )
    assert parse_field("None | int | None | int", ()) == parse_field("int | None", ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (5, "a field is a text"),
        ("", "invalid syntax|expected"),
        ("x" * (limits.SHAPE_CHARS + 1), "at most 65,536 characters"),
        ("Unknown", "no type, and no class of the table"),
        ("int; import os", "no field: write a type"),
        ("int\nx = 1", "no field: write a type"),
        ("__import__('os')", "bounds are named"),
        ("list", "wrong number of types"),
        ("list[int, str]", "wrong number of types"),
        ("list[int, ...]", "wrong number of types"),
        ("tuple[int, str, ...]", "wrong number of types"),
        ("tuple[...]", "wrong number of types"),
        ("int[str]", "wrong number of types"),
        ("dict[str]", "wrong number of types"),
        ("list[[]]", "is no type"),
        ("int(color=3)", "has no bound color"),
        ("int(ge='x')", "has no bound ge, or not with such a value"),
        ("str(ge=1)", "has no bound ge"),
        ("int(**x)", "no field"),
        ("int(1)", "bounds are named"),
        ("Literal", "wrong number"),
        ("Literal[int]", "no field"),
        ("Literal[1.5]", "has no value 1.5"),
        ("int = x", "no field"),
        ("int = f()", "no field"),
        ("int + str", "is no type"),
        ("lambda: 0", "is no type"),
        ("(" * 5_000 + "int" + ")" * 5_000, "no field"),
        ("|".join(["int"] * 16_000), "no field"),
        ("list[" * 3_000 + "int" + "]" * 3_000, "no field"),
        ("int\0", "no field"),
    ],
)
def test_a_text_that_is_no_field_is_refused_and_never_run(text, why):
    with pytest.raises(Invalid, match=why):
        parse_field(text, ())


@settings(deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"[a-z\[\]|(),.='0-9 ]+", fullmatch=True))
def test_any_text_is_a_field_that_reads_back_or_is_refused(text):
    try:
        found = parse_field(text, ("A",))
    except Invalid:
        return
    assert parse_field(str(found), ("A",)) == found


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("Cat", "Cat_2"),
        ("int", "_int"),
        ("Box[int]", "Box_int_"),
        ("class", "_class"),
        ("9", "_9"),
        ("", "_"),
        ("unset", "unset_2"),
        ("Self", "Self_2"),
        ("Éa", "_a"),
    ],
)
def test_a_class_gets_a_name_that_nothing_else_has(wanted, name):
    assert free_name(wanted, ("Cat", SELF)) == name


def test_two_classes_of_one_name_stand_apart_and_names_do_not_count():
    def classes(name):
        inner = msgspec.defstruct(name, [("a", int)], frozen=True)
        other = msgspec.defstruct(name, [("a", str)], frozen=True)
        return msgspec.defstruct("Outer", [("x", inner), ("y", list[other]), ("z", inner | None)], frozen=True)

    one, two = (form_of(classes(name), Stored("event", "a", 1)) for name in ("Inner", "Renamed"))
    assert set(one.types) == {SELF, "Inner", "Inner_2"}
    assert one != two
    assert canonical(one) == canonical(two)


def test_canonical_forms_know_the_order_of_arrays_only():
    def order(*names):
        fields = {name: Field(Type("int")) for name in names}
        return [canonical(Form({SELF: Object(fields, array=array)})) for array in ("", "struct")]

    assert order("a", "b")[0] == order("b", "a")[0]
    assert order("a", "b")[1] != order("b", "a")[1]


def test_a_type_that_no_lock_file_can_keep_is_named():
    @command("odd.thing")
    class Odd:
        one: msgspec.msgpack.Ext

    with pytest.raises(
        Misconfigured, match=r"command 'odd.thing' holds a ExtType, whose shape a lock file cannot keep"
    ):
        form_of(Odd, stored(Odd))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_bodies_of_a_form_are_of_that_form(data):
    raw = data.draw(bodies(form_of(Seen, stored(Seen)), extreme=True))
    assert msgspec.json.decode(msgspec.json.encode(raw), type=Seen)
