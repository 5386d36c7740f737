"""Strict JSON from outside: `codec.parse_json`, and the public parsing suite run through it."""

import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog.errors import Invalid
from foldlog.model.codec import parse_json

texts = st.text(st.characters(exclude_categories=("Cs",)))


@pytest.mark.parametrize(
    "text",
    [
        '{"x":1,"x":2}',
        '{"x":{"a":1,"a":1}}',
        '{"x":NaN}',
        '{"x":-Infinity}',
        '{"x":1e999}',
        '{"x":"\\ud800"}',
        '{"x":["\\udc00"]}',
        '{"\\ud800":1}',
        '{"x":"\ud800"}',
        '{"x":1}x',
        "",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"x":"\xed\xa0\x80"}',
    ],
)
def test_what_is_no_strict_json_is_refused(text):
    with pytest.raises(Invalid, match="not acceptable as JSON"):
        parse_json(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts, lambda of: st.lists(of) | st.dictionaries(texts, of)
    )
)
def test_parse_json_reads_what_json_wrote(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


# ---------------------------------------------------------------- the JSON parsing suite

SUITE = "standards/json-parsing-y-n.tar.xz"
STRICTER = {
    "y_object_duplicated_key.json": "a key stands twice",
    "y_object_duplicated_key_and_value.json": "a key stands twice",
}
"""Valid by RFC 8259, refused by us: I-JSON (RFC 7493, section 2.3) forbids duplicate names, for readers disagree."""


def suite() -> list[tuple[str, bytes]]:
    root = Path(__file__).parents[2]
    for folder in (os.environ.get("FOLDLOG_DATA"), root / "../shared/data"):
        if folder and (path := Path(folder, SUITE)).exists():
            with tarfile.open(path) as archive:
                files = [(member, archive.extractfile(member)) for member in archive if member.isfile()]
                return [(Path(member.name).name, file.read()) for member, file in files if file is not None]
    return []


FILES = suite()


def test_the_json_parsing_suite_is_there():
    if not FILES and os.environ.get("CI"):
        pytest.fail(f"{SUITE} is missing: set FOLDLOG_DATA to the folder of the test data")
    if not FILES:
        pytest.skip(f"{SUITE} is missing: FOLDLOG_DATA names no folder that has it")
    names = {name for name, _ in FILES}
    assert names >= STRICTER.keys()
    assert sum(name.startswith("y_") for name in names) > 90
    assert sum(name.startswith("n_") for name in names) > 180


@pytest.mark.parametrize(("name", "data"), FILES, ids=[name for name, _ in FILES])
def test_the_json_parsing_suite(name, data):
    if name.startswith("y_") and name not in STRICTER:
        assert parse_json(data) == json.loads(data)
        return
    with pytest.raises(Invalid, match=STRICTER.get(name, "not acceptable")):
        parse_json(data)
