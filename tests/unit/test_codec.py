from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured, TooLarge, Undecodable
from foldlog.model.codec import Codec

BERLIN = ZoneInfo("Europe/Berlin")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Inner:
    amount: Decimal
    when: datetime | None = None


class Part(msgspec.Struct, frozen=True):
    id: UUID
    parts: "tuple[Part, ...]" = ()


class Quiet(msgspec.Struct, frozen=True, eq=False):
    note: str | None = None


class Pair(NamedTuple):
    left: int
    right: str


@dataclass(frozen=True, slots=True)
class Everything:
    decimal: Decimal
    day: date
    moment: datetime
    clock: time
    span: timedelta
    id: UUID
    raw: bytes
    colour: Colour
    level: Level
    number: int
    real: float
    text: str
    yes: bool
    pair: tuple[int, str]
    many: tuple[Inner, ...]
    listed: list[Part]
    words: frozenset[str]
    by_id: dict[UUID, Inner]
    by_number: dict[int, str]
    named: Pair
    maybe: Inner | None = None


def one(kind: Any) -> Codec[Any]:
    """The codec of a class with one field `x` of this type."""
    return Codec(dataclass(frozen=True)(type("One", (), {"__annotations__": {"x": kind}})), "event 'one'")


def roundtrip(kind: Any, value: Any) -> Any:
    codec = one(kind)
    body, again = codec.encode(codec_type(codec)(value))
    assert repr(codec.decode(body)) == repr(again)
    return again.x


def codec_type(codec: Codec[Any]) -> Any:
    return codec._decoder.type  # noqa: SLF001 - the class that the codec was made for


offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = (st.datetimes() | st.datetimes(timezones=st.just(UTC) | offsets)).map(
    lambda moment: moment.replace(fold=0)  # says nothing where there is no zone whose clocks change
)
decimals = st.decimals(allow_nan=False)
texts = st.text(st.characters(exclude_categories=("Cs",)))
inners = st.builds(Inner, decimals, st.none() | moments)
parts = st.recursive(
    st.builds(Part, st.uuids()), lambda deeper: st.builds(Part, st.uuids(), st.tuples(deeper)), max_leaves=5
)
everything = st.builds(
    Everything,
    decimals,
    st.dates(),
    moments,
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.binary(),
    st.sampled_from(Colour),
    st.sampled_from(Level),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.booleans(),
    st.tuples(st.integers(), texts),
    st.lists(inners).map(tuple),
    st.lists(parts),
    st.frozensets(texts),
    st.dictionaries(st.uuids(), inners),
    st.dictionaries(st.integers(-(2**63), 2**64 - 1), texts),
    st.builds(Pair, st.integers(), texts),
    st.none() | inners,
)
EVERYTHING: Codec[Everything] = Codec(Everything, "event 'everything'")


@given(everything)
def test_every_kind_of_value_survives_exactly(value):
    body, again = EVERYTHING.encode(value)
    assert again == value
    assert repr(EVERYTHING.decode(body)) == repr(again)
    for name in ("decimal", "moment", "real", "number", "raw"):
        assert repr(getattr(again, name)) == repr(getattr(value, name))


@given(everything)
def test_what_was_written_is_accepted_from_outside(value):
    body, again = EVERYTHING.encode(value)
    assert EVERYTHING.from_outside(body) == again


@given(st.integers(min_value=-(10**300), max_value=10**300))
def test_integers_beyond_64_bits_survive_exactly(number):
    for kind in (int, Any, dict[str, Any]):
        value = {"a": number} if kind == dict[str, Any] else number
        again = roundtrip(kind, value)
        assert again == value
        assert type(again) is type(value)
    assert one(Any).from_outside(f'{{"x":{number}}}').x == number


def test_an_integer_too_long_to_be_read_is_refused():
    with pytest.raises(Invalid):
        roundtrip(int, 10**5000)
    with pytest.raises(Invalid, match="digits"):
        one(int).from_outside(b'{"x":' + b"9" * 5000 + b"}")


@given(st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.just(BERLIN)))  # noqa: DTZ001 - hypothesis wants bounds without a zone
def test_a_local_time_keeps_its_instant_and_its_wall_clock(moment):
    again = roundtrip(datetime, moment)
    assert again.astimezone(UTC) == moment.astimezone(UTC)
    assert again.replace(tzinfo=None) == moment.replace(tzinfo=None)


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_a_change_of_clocks_repeats_is_stored(fold):
    moment = datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=BERLIN)
    again = roundtrip(Inner | None, Inner(Decimal(1), moment))
    assert again.when.isoformat() == moment.isoformat()


def test_an_offset_with_seconds_is_refused():
    with pytest.raises(Invalid, match="time zones with seconds"):
        roundtrip(datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=3661))))


def test_values_that_compare_by_identity_survive_inside_others():
    assert roundtrip(list[Quiet], [Quiet(), Quiet("a")])[1].note == "a"
    assert roundtrip(dict[str, Quiet], {"a": Quiet()})["a"].note is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, "5"),
        (int, 1.5),
        (int, 1.0),
        (int, True),
        (str, 5),
        (str, None),
        (bool, 1),
        (Decimal, "1.5"),
        (datetime, "2026-01-01T00:00:00Z"),
        (Colour, "green"),
        (float, 2**53 + 1),
        (tuple[int, ...], [1, 2]),
        (list[int], (1, 2)),
        (tuple[int, str], (1, 2)),
        (list[int], ["a"]),
        (Inner, {"amount": "1"}),
        (str, Colour.RED),
        (dict[str, int], {"a": "b"}),
        (dict[Any, int], {(1, 2): 3}),
        (Any, (1, 2)),
        (Any, {"a": (1, 2)}),
        (Any, Decimal(1)),
        (Any, UUID(int=1)),
        (Any, object()),
        (Any, {"a": Quiet("x")}),
        (Quiet | None, Inner(Decimal(1))),
    ],
)
def test_a_value_that_would_not_come_back_as_it_went_in_is_refused(kind, value):
    with pytest.raises(Invalid):
        roundtrip(kind, value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [float, float | None, Any, list[float], dict[str, float | None]])
def test_nan_and_infinities_are_refused(kind, number):
    value = {list[float]: [number], dict[str, float | None]: {"a": number}}.get(kind, number)
    with pytest.raises(Invalid):
        roundtrip(kind, value)


def test_a_decimal_nan_is_refused_and_a_decimal_infinity_survives():
    with pytest.raises(Invalid):
        roundtrip(Decimal, Decimal("NaN"))
    assert roundtrip(Decimal, Decimal("-Infinity")) == Decimal("-Infinity")


@pytest.mark.parametrize("kind", [str, Any, dict[str, str]])
def test_a_lone_surrogate_is_refused_and_nul_survives(kind):
    def wrap(text):
        return {text: text} if kind == dict[str, str] else text

    with pytest.raises(Invalid, match="surrogates"):
        roundtrip(kind, wrap("a\ud800"))
    assert roundtrip(kind, wrap("a\0b")) == wrap("a\0b")


def test_a_text_of_one_mebibyte_is_too_large():
    with pytest.raises(TooLarge, match="1,048,576"):
        roundtrip(str, "x" * 1_048_576)
    assert len(roundtrip(str, "x" * 1_000_000)) == 1_000_000
    with pytest.raises(TooLarge):
        one(str).from_outside('{"x":"' + "x" * 1_048_576 + '"}')


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [limits.NESTING, 500, 10_000])
def test_deep_nesting_is_refused(levels):
    with pytest.raises(Invalid):
        roundtrip(Any, nested(levels))
    with pytest.raises(Invalid):
        one(Any).from_outside('{"x":' + "[" * levels + "]" * levels + "}")


def test_nesting_up_to_the_limit_and_many_shallow_parts_are_stored():
    assert roundtrip(Any, nested(limits.NESTING - 1)) == nested(limits.NESTING - 1)
    assert roundtrip(list[list[int]], [[1]] * 1000) == [[1]] * 1000


def test_a_value_that_holds_itself_is_refused():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Invalid):
        roundtrip(Any, value)


@pytest.mark.parametrize("kind", [complex, Exception, list[complex], dict[str, tuple[complex, ...]], complex | None])
def test_a_type_that_json_does_not_know_is_refused_when_the_app_starts(kind):
    with pytest.raises(Misconfigured, match="cannot be stored: it holds a"):
        one(kind)


def test_types_that_cannot_be_told_apart_are_refused_when_the_app_starts():
    with pytest.raises(Misconfigured, match="cannot be stored"):
        one(Inner | Everything)


def test_an_annotation_that_cannot_be_resolved_names_the_cure():
    with pytest.raises(Misconfigured, match="module level"):
        one("Nowhere")


def test_a_stored_body_that_does_not_fit_is_undecodable():
    for body in (b'{"x":"a"}', b'{"x":', b"", b'{"x":"\xff"}', b"{}", b"[" * 10_000):
        with pytest.raises(Undecodable, match="the stored event 'one'"):
            one(int).decode(body)


def test_a_stored_body_that_the_class_itself_refuses_is_undecodable():
    @dataclass(frozen=True)
    class Positive:
        x: int

        def __post_init__(self) -> None:
            if self.x < 0:
                raise KeyError(self.x)

    with pytest.raises(Undecodable):
        Codec(Positive, "event 'positive'").decode(b'{"x":-1}')
