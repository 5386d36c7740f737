"""What the checker calls readable is read, by msgspec itself: on random classes, random changes and random values."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st

from foldlog.errors import Invalid, Misconfigured, Undecodable
from foldlog.model.codec import Codec
from foldlog.model.compatible import gaps
from foldlog.testing.instances import bodies
from tests.unit.shapes import built, changed, draw_class, form, held, loss, same

RANDOM = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))


def pair(draw):
    """(old plan, new plan, codec of each, form of each)."""
    plan = draw_class(draw)
    other = changed(draw, plan)
    try:
        old, new = built(plan), built(other)
        return plan, other, Codec(old, "old"), Codec(new, "new"), form(old), form(new)
    except (TypeError, Misconfigured):  # a union that msgspec does not have
        assume(False)
        raise AssertionError("assume ends the example") from None


def written(data, writer, writes):
    """(body, value) as the writer has stored it: its own codec has taken the random body."""
    raw = data.draw(bodies(writes, extreme=True))
    try:
        return writer.encode(writer.decode(msgspec.json.encode(raw)))
    except Invalid:
        assume(False)
        raise AssertionError("assume ends the example") from None


def read_or_refused(data):
    """One random pair of classes, one random value."""
    _, _, writer, reader, writes, reads = pair(data.draw)
    body, value = written(data, writer, writes)
    if not gaps(reads, writes):
        read = reader.decode(body)
        assert same(value, read), (value, read)


test_nothing_that_is_called_readable_fails_or_changes = RANDOM(given(st.data())(read_or_refused))


def test_the_random_changes_are_of_both_kinds():
    """Else the test above would hold for a checker that says no to everything."""
    said = Counter()

    @seed(7)
    @RANDOM
    @given(st.data())
    def count(data):
        plan, other, writer, reader, writes, reads = pair(data.draw)
        body, value = written(data, writer, writes)
        try:
            kept = same(value, reader.decode(body))
        except Undecodable:
            kept = False
        if plan != other:
            said[not gaps(reads, writes), kept] += 1

    count()
    assert said[True, False] == 0
    assert said[True, True] > 30
    assert said[False, False] > 30
    # Most of what is refused and yet read by this one body fails on another one: the tables below see to that.


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Red(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mode(Flag):
    READ = 1
    WRITE = 2


class Wider(Flag):
    READ = 1
    WRITE = 2
    RUN = 4


Short = Annotated[str, msgspec.Meta(max_length=3)]
Small = Annotated[int, msgspec.Meta(ge=0, le=9)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Above = Annotated[int, msgspec.Meta(gt=-1)]
Below = Annotated[int, msgspec.Meta(lt=10)]
Even = Annotated[int, msgspec.Meta(multiple_of=2)]
Aware = Annotated[datetime, msgspec.Meta(tz=True)]
Naive = Annotated[datetime, msgspec.Meta(tz=False)]
Single = Annotated[dict[str, int], msgspec.Meta(min_length=1)]
Few = Annotated[list[int], msgspec.Meta(max_length=2)]
Id = UUID("12345678-1234-5678-1234-567812345678")
BIG = 2**60 + 1
PLAIN, AWARE = datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, tzinfo=UTC)  # noqa: DTZ001  # one of each
INTS, TEXTS = [0, 1, 5, -7, BIG, 2**64 - 1], ["", "a", "red", "2026-01-01", "long enough"]

SAMPLES: list[tuple[Any, list[Any]]] = [
    (int, INTS),
    (Small, [0, 1, 9]),
    (Natural, [0, BIG]),
    (Above, [0, BIG]),
    (Below, [9, -BIG]),
    (Even, [0, 12, -(2**62)]),
    (float, [0.0, 1.5, -7.0, 1e300]),
    (bool, [True, False]),
    (None, [None]),
    (str, TEXTS),
    (Short, ["", "abc"]),
    (Colour, list(Colour)),
    (Red, list(Red)),
    (Level, list(Level)),
    (Mode, [Mode.READ, Mode.READ | Mode.WRITE]),
    (Wider, [Wider.RUN, Wider.READ | Wider.RUN]),
    (Literal["red"], ["red"]),
    (Literal["red", "blue"], ["red", "blue"]),
    (Literal[1, 2], [1, 2]),
    (Literal[1, "red"] | None, [1, "red", None]),
    (Decimal, [Decimal("1.50"), Decimal("-1E+400"), Decimal("Infinity")]),
    (date, [date(2026, 1, 1)]),
    (datetime, [PLAIN, AWARE]),
    (Aware, [AWARE]),
    (Naive, [PLAIN]),
    (time, [time(1, 2, 3)]),
    (timedelta, [timedelta(days=1, microseconds=5)]),
    (UUID, [Id]),
    (bytes, [b"", b"\xff\x00a"]),
    (Any, [None, 1, 1.5, "a", True, [1], {"a": 1}]),
    (int | None, [*INTS, None]),
    (str | None, [*TEXTS, None]),
    (int | float, [*INTS, 1.5]),
    (int | str, [*INTS, *TEXTS]),
    (float | Decimal, [1.5, Decimal("2.5")]),
    (Small | float, [9, 1.5]),
    (list[int], [[], [1, BIG, 1]]),
    (Few, [[], [1, 1]]),
    (list[int | None], [[None, 1]]),
    (list[str], [[], ["a", "a"]]),
    (set[int], [set(), {1, 2, BIG}]),
    (frozenset[str], [frozenset("ab")]),
    (tuple[int, ...], [(), (1, 1, BIG)]),
    (tuple[int, str], [(1, "a")]),
    (tuple[int, int], [(1, BIG)]),
    (tuple[int, int, int], [(1, 2, 3)]),
    (tuple[()], [()]),
    (dict[str, int], [{}, {"a": 1, "long enough": BIG}]),
    (Single, [{"a": 1, "long enough": BIG}]),
    (dict[str, Any], [{}, {"a": None}]),
    (dict[Short, int], [{}, {"a": BIG}]),
    (dict[int, int], [{}, {1: 1, -50_000: BIG}]),
    (dict[date, str], [{date(2026, 1, 1): "a"}]),
    (dict[Colour, int], [{}, {Colour.RED: 1, Colour.BLUE: 2}]),
    (dict[Red, int], [{}, {Red.RED: 1}]),
]
NAMES = [str(one).replace("typing.", "").replace("tests.unit.test_compatible.", "") for one, _ in SAMPLES]


@pytest.mark.parametrize("number", range(len(SAMPLES)), ids=NAMES)
def test_every_pair_of_types_is_judged_as_the_decoder_does(number):
    old, values = held(SAMPLES[number][0]), SAMPLES[number][1]
    writer = Codec(old, "old")
    wrong = {}
    for (other, _), name in zip(SAMPLES, NAMES, strict=True):
        new = held(other)
        readable, lossy = not gaps(form(new), form(old)), loss(writer, Codec(new, "new"), values)
        if readable == lossy:
            wrong[name] = "false yes" if readable else "false no"
    assert wrong == {}


@pytest.mark.parametrize(("type", "values"), SAMPLES, ids=NAMES)
def test_what_a_form_generates_is_what_its_class_reads(type, values):
    made = held(type)
    codec = Codec(made, "made")

    @settings(deadline=None, max_examples=25, database=None)
    @given(bodies(form(made), extreme=True))
    def reads(raw):
        codec.decode(msgspec.json.encode(raw))

    reads()
