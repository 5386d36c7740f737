import json
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest

from foldlog.errors import Invalid
from foldlog.model.codec import Codec


@dataclass(frozen=True, slots=True)
class Inner:
    amount: Decimal


class Pair(NamedTuple):
    left: int
    right: str


class Cat(msgspec.Struct, frozen=True, tag="cat", omit_defaults=True):
    lives: int = 9


class Dog(msgspec.Struct, frozen=True, tag="dog", rename="camel"):
    good_boy: bool = True


class Row(msgspec.Struct, frozen=True, array_like=True):
    a: int
    b: Inner | None = None


class Bird(msgspec.Struct, frozen=True, array_like=True, tag=True):
    a: int


class Typed(TypedDict):
    a: int


@dataclass(frozen=True)
class Outside:
    inner: Inner | None = None
    pet: Cat | Dog | None = None
    rows: list[Row] = field(default_factory=list)
    by_day: dict[date, Inner] = field(default_factory=dict)
    two: tuple[Inner, Inner] | None = None
    some: frozenset[Inner] = frozenset()
    typed: Typed | None = None
    any: Any = None
    deeper: "Outside | None" = None
    either: list[Inner] | dict[str, Inner] | int | None = None
    named: Pair | None = None
    bird: Bird | None = None


OUTSIDE: Codec[Outside] = Codec(Outside, "command 'outside'")
INNER = {"amount": "1"}
GOOD: list[dict[str, Any]] = [
    {},
    {"inner": INNER},
    {"inner": {"amount": 5}},
    {"pet": {"type": "cat"}},
    {"pet": {"type": "cat", "lives": 9}},
    {"pet": {"type": "dog", "goodBoy": False}},
    {"rows": [[1], [1, None], [1, INNER]]},
    {"by_day": {"2026-01-01": INNER}},
    {"two": [INNER, INNER]},
    {"some": [{"amount": "2"}, INNER]},
    {"typed": {"a": 1}},
    {"any": {"whatever": [{"there": "is"}]}},
    {"deeper": {"deeper": {"inner": None}}},
    {"either": [INNER]},
    {"either": {"a": INNER}},
    {"either": 5},
    {"named": [1, "a"]},
    {"bird": ["Bird", 1]},
]
WORSE = {"amount": "1", "more": 1}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"more": 1}, r"has no field \$\.more"),
    ({"inner": WORSE}, r"\$\.inner\.more"),
    ({"pet": {"type": "cat", "goodBoy": False}}, r"\$\.pet\.goodBoy"),
    ({"pet": {"type": "dog", "good_boy": False}}, r"\$\.pet\.good_boy"),
    ({"pet": {"type": "cow"}}, "cow"),
    ({"rows": [[1], [1, WORSE]]}, r"\$\.rows\[1\]\[1\]\.more"),
    ({"rows": [[1, None, 5]]}, r"has no element \$\.rows\[0\]\[2\]"),
    ({"by_day": {"2026-01-01": WORSE}}, r"\$\.by_day\.2026-01-01\.more"),
    ({"two": [INNER, WORSE]}, r"\$\.two\[1\]\.more"),
    ({"some": [INNER, WORSE]}, r"\$\.some\[1\]\.more"),
    ({"typed": {"a": 1, "b": 2}}, r"\$\.typed\.b"),
    ({"deeper": {"deeper": {"inner": WORSE}}}, r"\$\.deeper\.deeper\.inner\.more"),
    ({"either": [WORSE]}, r"\$\.either\[0\]\.more"),
    ({"either": {"a": WORSE}}, r"\$\.either\.a\.more"),
    ({"inner": 5}, "Expected"),
    ({"inner": {}}, "missing required field"),
    ({"bird": ["Bird", 1, 2]}, r"\$\.bird\[2\]"),
]


@pytest.mark.parametrize("data", GOOD, ids=str)
def test_a_value_from_outside_is_accepted(data):
    assert isinstance(OUTSIDE.from_outside(json.dumps(data)), Outside)
    assert isinstance(OUTSIDE.from_outside(json.dumps(data).encode()), Outside)


@pytest.mark.parametrize(("data", "why"), BAD, ids=str)
def test_a_field_that_nobody_asked_for_is_refused_wherever_it_stands(data, why):
    with pytest.raises(Invalid, match=why):
        OUTSIDE.from_outside(json.dumps(data))
