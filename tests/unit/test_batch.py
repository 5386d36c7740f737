"""What the contract's refusals leave open: the small rules, their messages, and every order of two values."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog import limits
from foldlog.engines.batch import (
    check_batch,
    check_index_value,
    check_range,
    condition_conflict,
    order_key,
    row_conflict,
    row_holds,
    stream_conflict,
    version_holds,
)
from foldlog.errors import Invalid, TooLarge
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.model.stream import ANY, EXISTS, NONE
from foldlog.ports.store import Append, Batch, Check, Condition, Delete, Put, Range, Row, RowKey, Table

DRAFT = Draft("seen", 1, b"{}")
TABLE = Table("view.balances.2", ("size", "label"), expiring=True)
KEY = RowKey("", "one")

index_values = (
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@pytest.mark.parametrize(
    ("expected", "holds"), [(ANY, (0, 1, 7)), (EXISTS, (1, 7)), (NONE, (0,)), (1, (1,)), (7, (7,)), (8, ())]
)
def test_expected_versions(expected, holds):
    assert tuple(actual for actual in (0, 1, 7) if version_holds(expected, actual)) == holds


@pytest.mark.parametrize(("wanted", "holds"), [(None, (0, 1, 7)), (0, (0,)), (7, (7,)), (2, ())])
def test_wanted_row_versions(wanted, holds):
    assert tuple(actual for actual in (0, 1, 7) if row_holds(wanted, actual)) == holds


@given(index_values, index_values)
def test_none_before_numbers_before_texts_as_utf8_sorts(one, other):
    def stored(value):
        if value is None:
            return 0, 0
        return (2, value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else (1, value)

    assert (order_key(one) < order_key(other)) == (stored(one) < stored(other))


@given(index_values)
def test_every_finite_value_of_an_index_is_taken_unless_too_long(value):
    try:
        check_index_value(value)
    except TooLarge:
        assert len(value.encode()) > limits.INDEXED_BYTES
    except Invalid:
        assert max(value) >= "\ud800"


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**63, True, b"x", [], {}, "\udfff"])
def test_values_without_a_place_in_an_order_are_refused(value):
    with pytest.raises(Invalid):
        check_index_value(value)


def test_a_whole_batch_is_taken():
    condition = Condition(Query(types=("seen",)) | Query(types=("left",)), 0)
    appends = [
        Append("cart-1", [DRAFT, Draft("seen", 2, b"", b"{}", ("a:1", "a:2"), "zstd")], EXISTS, "a", condition),
        Append("cart-1", (DRAFT,)),
    ]
    rows = [
        Put(TABLE, KEY, b"", None, 5, (None, "x"), 1),
        Delete(TABLE, RowKey("a", "one")),
        Check(Table("commands"), KEY, 0),
    ]
    check_batch(Batch(appends, rows))


def test_limits_are_met_exactly():
    tags = tuple(f"a:{number}" for number in range(limits.TAGS))
    full = Draft("x" * limits.NAME_CHARS, 2**63 - 1, b"x" * limits.EVENT_BYTES, b"x" * limits.META_BYTES, tags)
    check_batch(Batch([Append("cart-1", [full])]))
    check_batch(Batch([Append("cart-1", [DRAFT] * limits.BATCH_EVENTS)]))
    check_batch(Batch([Append(f"cart-{number}", [DRAFT]) for number in range(limits.BATCH_STREAMS)]))
    check_batch(Batch(rows=[Delete(TABLE, RowKey("", str(number))) for number in range(limits.BATCH_ROWS)]))
    check_batch(Batch(rows=[Delete(TABLE, RowKey("", "x" * limits.INDEXED_BYTES))]))


@pytest.mark.parametrize(
    "batch",
    [
        Batch([Append(f"cart-{number}", [DRAFT]) for number in range(limits.BATCH_STREAMS + 1)]),
        Batch([Append("a-1", [DRAFT] * limits.BATCH_EVENTS), Append("b-1", [DRAFT])]),
        Batch([Append("a-1", [Draft("seen", 1, b"x" * limits.EVENT_BYTES)] * 64 + [DRAFT])]),
    ],
    ids=["streams", "events", "bytes"],
)
def test_one_more_is_too_large(batch):
    with pytest.raises(TooLarge, match="in parts"):
        check_batch(batch)


def test_a_change_of_another_kind_is_refused():
    class Touch:
        table, key, if_version = TABLE, KEY, None

    with pytest.raises(Invalid, match="Touch"):
        check_batch(Batch(rows=[Touch()]))


@pytest.mark.parametrize("index", [None, "size", "label"])
@pytest.mark.parametrize("bounds", list(itertools.product([None, "", "x"], repeat=2)))
def test_ranges_that_fit_are_taken(index, bounds):
    low, high = bounds
    check_range(TABLE, Range("a", index, low, high, Row(KEY, b"", 1, 0, (1, 2)), limits.FIND_MAX))


def test_a_row_of_another_table_is_no_place_to_read_on():
    with pytest.raises(Invalid, match="read on"):
        check_range(TABLE, Range(index="size", after=Row(KEY, b"", 1)))


def test_conflicts_name_what_they_are_about():
    stream = stream_conflict(Append("cart-1", [DRAFT], EXISTS), 0)
    assert (stream.what, stream.expected, stream.actual, stream.row) == ("cart-1", EXISTS, 0, "")
    row = row_conflict(Check(TABLE, KEY, 3), 4)
    assert (row.what, row.expected, row.actual, row.row) == (
        "view.balances.2/one",
        3,
        4,
        "view.balances.2/one",
    )
    query = Query(tags=("show:7",), types=("taken",)) | Query(types=("left",), tenant="")
    condition = condition_conflict(Condition(query, 5), 9)
    assert (condition.expected, condition.actual, condition.row) == (5, 9, "")
    assert condition.what == "events of [taken show:7] or events of [left]"
