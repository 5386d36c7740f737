"""Classes against classes: fields, defaults, tags, arrays; judged as the decoder does."""

from dataclasses import make_dataclass
from enum import Enum
from typing import Any, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest

from foldlog.model.codec import Codec
from foldlog.model.compatible import DEFAULT, MISSING, TAG, TYPE, UNKNOWN, VALUES, gaps
from tests.unit.shapes import form, held, loss
from tests.unit.test_compatible import Colour, Red


class Old(msgspec.Struct, frozen=True):
    a: int
    b: str = "x"


class Omits(msgspec.Struct, frozen=True, omit_defaults=True):
    a: int
    b: str = "x"


class OtherDefault(msgspec.Struct, frozen=True):
    a: int
    b: str = "y"


class NeedsAll(msgspec.Struct, frozen=True):
    a: int
    b: str


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    a: int


class Tagged(msgspec.Struct, frozen=True, tag="old"):
    a: int
    b: str = "x"


class TagAsField(msgspec.Struct, frozen=True):
    type: str
    a: int


class TagAsNumber(msgspec.Struct, frozen=True):
    type: int
    a: int


class Less(msgspec.Struct, frozen=True):
    a: int


class More(msgspec.Struct, frozen=True):
    a: int
    c: int


class MoreWithDefault(msgspec.Struct, frozen=True):
    a: int
    c: int = 5


class Places(msgspec.Struct, frozen=True, array_like=True):
    a: int
    b: str = "x"


class Swapped(msgspec.Struct, frozen=True, array_like=True):
    b: str
    a: int


class Numbers(msgspec.Struct, frozen=True, array_like=True):
    a: int
    b: int


class NumbersSwapped(msgspec.Struct, frozen=True, array_like=True):
    b: int
    a: int


class LessPlaces(msgspec.Struct, frozen=True, array_like=True):
    a: int


class ClosedPlaces(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    a: int


class MorePlaces(msgspec.Struct, frozen=True, array_like=True):
    a: int
    b: str
    c: int


class Unset(msgspec.Struct, frozen=True):
    a: int
    b: str | msgspec.UnsetType = msgspec.UNSET


class One(NamedTuple):
    a: int


class Two(NamedTuple):
    a: int
    b: str = "x"


class Dict(TypedDict):
    a: int
    b: NotRequired[str]


class Node(msgspec.Struct, frozen=True):
    a: int
    next: "Node | None" = None


class LessOfNode(msgspec.Struct, frozen=True):
    next: "LessOfNode | None" = None


class TextNode(msgspec.Struct, frozen=True):
    a: int
    next: "TextNodes | None" = None


class TextNodes(msgspec.Struct, frozen=True):
    a: str
    next: "TextNode | None" = None


class Cat(msgspec.Struct, frozen=True, tag="cat"):
    a: int


class Dog(msgspec.Struct, frozen=True, tag="dog"):
    a: int


OLD, LESS = [Old(1, "z"), Old(1)], [Less(1)]
CLASSES = [
    # what was written, samples of it, how it is read, the sorts of gaps
    (Old, OLD, Less, set()),
    (Old, OLD, MoreWithDefault, set()),
    (Old, OLD, OtherDefault, set()),
    (Old, OLD, More, {MISSING}),
    (Old, OLD, Closed, {UNKNOWN}),
    (Old, OLD, Places, {TYPE}),
    (Old, OLD, dict[str, int | str], set()),
    (Old, OLD, dict[str, int], {TYPE}),
    (Less, LESS, Old, set()),
    (Less, LESS, Closed, set()),
    (Omits, [Omits(1), Omits(1, "z")], Old, set()),
    (Omits, [Omits(1), Omits(1, "z")], OtherDefault, {DEFAULT}),
    (Omits, [Omits(1), Omits(1, "z")], NeedsAll, {MISSING}),
    (Unset, [Unset(1), Unset(1, "z")], NeedsAll, {MISSING}),
    (Unset, [Unset(1), Unset(1, "z")], OtherDefault, set()),
    (Unset, [Unset(1)], Dict, set()),
    (Dict, [{"a": 1}, {"a": 1, "b": "z"}], Old, set()),
    (Tagged, [Tagged(1)], Old, set()),
    (Tagged, [Tagged(1)], TagAsField, set()),
    (Tagged, [Tagged(1)], TagAsNumber, {VALUES}),
    (Tagged, [Tagged(1)], Closed, {UNKNOWN}),
    (Tagged, [Tagged(1)], dict[str, Any], set()),
    (Tagged, [Tagged(1)], dict[str, int], {TYPE, VALUES}),
    (Places, [Places(1, "z")], LessPlaces, set()),
    (Places, [Places(1, "z")], ClosedPlaces, {UNKNOWN}),
    (Places, [Places(1, "z")], MorePlaces, {MISSING}),
    (Places, [Places(1, "z")], Swapped, {TYPE}),
    (Numbers, [Numbers(1, 2)], NumbersSwapped, {TYPE}),
    (LessPlaces, [LessPlaces(1)], Places, set()),
    (One, [One(1)], Two, set()),
    (Two, [Two(1, "z")], One, {UNKNOWN}),
    (Node, [Node(1, Node(2))], LessOfNode, set()),
    (Node, [Node(1, Node(2))], Node, set()),
    (TextNode, [TextNode(1, TextNodes("z", TextNode(2)))], Node, {TYPE}),
    (Cat, [Cat(1)], Cat | Dog, set()),
    (Cat | Dog, [Cat(1), Dog(2)], Cat, {TAG}),
    (Cat | Dog, [Cat(1), Dog(2)], Cat | Tagged, {TYPE}),
    (Cat | Dog, [Cat(1), Dog(2)], Less, set()),
    (Cat | None, [Cat(1), None], Cat, {VALUES}),
    (Cat | int, [Cat(1), 5], int | None, {TYPE}),
]


@pytest.mark.parametrize(("was", "values", "now", "sorts"), CLASSES)
def test_every_pair_of_classes_is_judged_as_the_decoder_does(was, values, now, sorts):
    old, new = held(was), held(now)
    found = gaps(form(new), form(old))
    assert {gap.sort for gap in found} == sorts, found
    values = [msgspec.json.decode(msgspec.json.encode(one)) for one in values]
    assert loss(Codec(old, "old"), Codec(new, "new"), values) == bool(sorts)


def test_a_class_that_gets_a_tag_is_taken_for_unreadable_though_alone_it_may_be_read():
    assert [gap.sort for gap in gaps(form(held(Tagged)), form(held(Old)))] == [TAG]


def test_elements_of_a_set_that_lose_a_field_may_become_one():
    old, new = held(frozenset[NeedsAll]), held(frozenset[Less])
    assert [gap.sort for gap in gaps(form(new), form(old))] == [TYPE]
    two = Codec(old, "old").encode(old(frozenset({NeedsAll(1, "y"), NeedsAll(1, "z")})))[0]
    assert len(Codec(new, "new").decode(two).value) == 1


def test_a_dict_has_no_defaults_for_what_was_left_out():
    old, new = held(Omits), held(dict[str, Any])
    assert gaps(form(new), form(old)) == [
        ("$.value.b", MISSING, "may have been left out, and a dict has no default for it")
    ]
    assert gaps(form(held(Any)), form(old)) == []  # JSON as it stands


def test_a_gap_says_where_and_why():
    old, new = held(list[Old]), held(list[More])
    assert gaps(form(new), form(old)) == [("$.value[].c", MISSING, "was never written, and has no default")]
    old, new = held(dict[str, Colour]), held(dict[str, Red])
    assert gaps(form(new), form(old)) == [("$.value[...]", VALUES, "'blue' cannot be read as Red")]


def test_a_default_that_code_makes_is_always_written():
    made = msgspec.defstruct(
        "Made", [("a", int, msgspec.field(default_factory=lambda: 7))], frozen=True, omit_defaults=True
    )
    needs = msgspec.defstruct("Needs", [("a", int)], frozen=True)
    assert msgspec.json.encode(made()) == b'{"a":7}'
    assert gaps(form(needs), form(made)) == []


def test_other_names_of_classes_are_no_change():
    again = make_dataclass("Again", [("value", Colour)], frozen=True)
    renamed = make_dataclass("Again", [("value", Enum("Paint", {"A": "blue", "B": "red"}))], frozen=True)
    assert gaps(form(again), form(renamed)) == gaps(form(renamed), form(again)) == []
