from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.model.query import Query, check_tag

NOW = datetime(2026, 1, 1, tzinfo=UTC)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9._/:-]{0,20}", fullmatch=True)
tags = st.from_regex(r"[a-z]{1,5}:[a-z0-9:]{0,9}", fullmatch=True)
sides = st.builds(
    Query, types=st.lists(names, min_size=1, max_size=5), tags=st.lists(tags, max_size=5), tenant=st.just("a")
)


def test_nothing_said_is_the_whole_log_of_all_tenants():
    assert Query().tenant is None
    assert Query(category="cart").tenant is None
    assert Query(types=("paid",)).tenant is None


def test_a_stream_or_a_tag_belongs_to_one_tenant():
    assert Query(stream="cart-1").tenant == ""
    assert Query(tags=("a:1",)).tenant == ""
    assert Query(stream="cart-1", tenant="a").tenant == "a"


@given(st.lists(names, max_size=20), st.lists(tags, max_size=16))
def test_names_are_a_tuple_each_once_in_order(types, tags):
    query = Query(types=types, tags=tags)
    assert query.types == tuple(dict.fromkeys(types))
    assert query.tags == tuple(dict.fromkeys(tags))
    assert hash(query) == hash(Query(types=tuple(types), tags=tuple(tags)))


@pytest.mark.parametrize(
    "said",
    [
        {"stream": "cart"},
        {"stream": ""},
        {"category": "Cart"},
        {"category": ""},
        {"types": ("a b",)},
        {"types": "paid"},
        {"tags": "a:1"},
        {"tags": ("a",)},
        {"tags": ("a:\n",)},
        {"tags": ("a:" + "x" * limits.TAG_BYTES,)},
        {"types": tuple(f"t{n}" for n in range(limits.QUERY_TYPES + 1))},
        {"tags": tuple(f"a:{n}" for n in range(limits.TAGS + 1))},
        {"any_of": (Query(types=("a",)),) * (limits.QUERY_SIDES + 1)},
        {"tenant": "A"},
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - a time without a zone is what must be refused
        {"until": datetime(2026, 1, 1)},  # noqa: DTZ001 - a time without a zone is what must be refused
    ],
    ids=lambda said: str(said)[:40],
)
def test_names_outside_the_grammar_are_refused(said):
    with pytest.raises(Invalid):
        Query(**said)


@given(sides, sides, sides)
def test_joining_is_flat_and_keeps_the_order(one, two, three):
    assert ((one | two) | three) == (one | (two | three))
    assert (one | two | three).any_of == (one, two, three)
    assert (one | two).tenant == "a"


@pytest.mark.parametrize(
    "other",
    [
        *(Query(), Query(category="cart"), Query(stream="cart-1"), Query(types=("a",), category="cart")),
        *(Query(types=("a",), since=NOW), Query(types=("a",), until=NOW), Query(types=("a",), tenant="b")),
    ],
    ids=str,
)
def test_only_types_and_tags_of_one_tenant_are_joined(other):
    with pytest.raises(Invalid):
        Query(types=("paid",)) | other
    with pytest.raises(Invalid):
        other | Query(types=("paid",))


@given(st.text())
def test_a_tag_is_given_back_or_refused(text):
    try:
        assert check_tag(text) == text
    except Invalid:
        return
    assert ":" in text
    assert text.isprintable() or not text.isascii()


@pytest.mark.parametrize(
    "side",
    [Query(stream="a-1"), Query(category="a"), Query(types=("a",), since=datetime(2026, 1, 1, tzinfo=UTC)), Query()],
)
def test_an_alternative_says_types_and_tags_and_no_more(side):
    with pytest.raises(Invalid, match="joined"):
        Query(any_of=(Query(types=("b",)), side))
