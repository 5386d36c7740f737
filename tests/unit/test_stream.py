import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog import limits
from foldlog.errors import Invalid
from foldlog.model.stream import (
    ANY,
    EXISTS,
    check_category,
    check_limit,
    check_name,
    check_part,
    check_tenant,
    check_text,
    check_version,
    split_stream,
    stream_of,
)

UNSAFE = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029", "\ud800", "\udfff"]
categories = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True)
keys = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=limits.KEY_BYTES
).filter(lambda key: len(key.encode()) <= limits.KEY_BYTES)


@given(categories, keys)
def test_a_stream_is_split_into_what_it_was_made_of(category, key):
    assert split_stream(stream_of(category, key)) == (category, key)


@given(st.text())
def test_any_text_is_a_stream_that_comes_back_or_is_refused(text):
    try:
        category, key = split_stream(text)
    except Invalid:
        return
    assert stream_of(category, key) == text
    assert "-" not in category


@given(st.text(), st.text())
def test_no_two_pairs_make_one_stream(category, key):
    try:
        stream = stream_of(category, key)
    except Invalid:
        return
    assert split_stream(stream) == (category, key)


@pytest.mark.parametrize("unsafe", UNSAFE, ids=ascii)
def test_unsafe_characters_are_refused_anywhere_in_a_key(unsafe):
    for key in (unsafe, f"{unsafe}x", f"x{unsafe}", f"x{unsafe}y"):
        with pytest.raises(Invalid):
            stream_of("cart", key)


@pytest.mark.parametrize("key", ["-", "--", "a-b", " ", "'; drop table", "..", "../x", "%00", "\u00a0", "\u200b", "😀"])
def test_ugly_keys_are_still_keys(key):
    assert split_stream(f"cart-{key}") == ("cart", key)


def test_a_key_is_measured_in_bytes():
    assert stream_of("cart", "é" * 128) == "cart-" + "é" * 128
    for key in ("é" * 129, "x" * 257, "\U0001f600" * 65):
        with pytest.raises(Invalid, match="longer than 256 bytes"):
            stream_of("cart", key)


@pytest.mark.parametrize(
    "stream", ["", "cart", "-", "-1", "cart-", "Cart-1", "ca rt-1", "1-1", "_a-1", "é-1", "cart\n-1"]
)
def test_what_is_no_stream(stream):
    with pytest.raises(Invalid):
        split_stream(stream)


@pytest.mark.parametrize("value", [None, 7, b"cart-1", 1.5, ("cart", "1")])
def test_what_is_no_text_at_all(value):
    for check in (split_stream, check_category, check_tenant, check_name, check_part):
        with pytest.raises(Invalid):
            check(value)
    with pytest.raises(Invalid):
        check_text("thing", value, 10)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (check_category, ["a", "a1_", "x" * 64], ["", "A", "a-", "1", "a\n", "x" * 65]),
        (check_tenant, ["", "a", "0", "a-b_c", "x" * 64], ["-", "_", "A", "a.b", "a\n", "x" * 65]),
        (check_name, ["a", "A.b/c:d_e-1", "x" * 128], ["", "1", ".a", "a b", "é", "a\n", "x" * 129]),
        (check_part, ["a", "a-b_1", "x" * 64], ["", "1", "A", "a.b", "a\n", "x" * 65]),
        (check_version, [EXISTS, ANY, 0, 1, 2**63 - 1], [-3, 2**63, 1.0, True, "1", None]),
    ],
)
def test_what_is_taken_is_given_back(check, good, bad):
    assert [check(value) for value in good] == good
    for value in bad:
        with pytest.raises(Invalid):
            check(value)


def test_limits():
    assert [check_limit(limit, 5) for limit in (1, 5)] == [1, 5]
    for limit in (0, -1, 6, True, 1.0, "1", None):
        with pytest.raises(Invalid, match="from 1 to 5"):
            check_limit(limit, 5)


def test_a_message_shows_a_hostile_value_short_and_escaped():
    with pytest.raises(Invalid) as caught:
        split_stream("\x1b[31m" + "x" * 1_000)
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()
