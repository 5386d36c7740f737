"""CloudEvents and back: nothing of the envelope is lost, and what is no CloudEvent is refused."""

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog import limits
from foldlog.errors import Invalid, TooLarge
from foldlog.model.cloudevents import Addressed, from_cloudevent, from_line, to_cloudevent, to_line
from foldlog.model.message import Kind, Meta, Recorded, encode_meta, event_id, to_micros

DATA = Path(os.environ.get("FOLDLOG_DATA", Path(__file__).parents[3] / "shared" / "data"))
EXAMPLES = DATA / "standards" / "cloudevents-spec" / "examples-json-format.json"
PLAIN = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b", "subject": "account-17"}
TIME = to_micros(datetime(2026, 1, 31, 12, 0, 0, 123456, UTC))


def recorded(meta: Meta, body: bytes = b"{}", encoding: str = "json", schema: int = 1, tenant: str = "") -> Recorded:
    kind = Kind("account", "account.opened", schema, encoding)
    return Recorded(2**40, tenant, "account-17", 3, kind, TIME, encode_meta(meta), body, "L")


def again(event: Recorded) -> Addressed:
    return from_cloudevent(from_line(to_line(event)))


FULL = Meta(
    "cmd",
    2,
    "corr",
    "caus",
    "ann",
    "00-ab-cd-01",
    1,
    ("show:1", "guest:ü"),
    "my-id",
    {"x": "1", "flag": True, "X-Odd": {"deep": [1.5, None]}, "n": 2**40, "empty": "", "source": "web", "c": "\x1b[0m"},
)


def test_the_whole_envelope_survives() -> None:
    tenant, stream, draft = again(recorded(FULL, b'{"a": 1.0}', schema=7, tenant="acme"))
    assert (tenant, stream, draft.type, draft.schema, draft.encoding) == (
        "acme",
        "account-17",
        "account.opened",
        7,
        "json",
    )
    assert draft.body == b'{"a": 1.0}'
    assert draft.tags == FULL.tags
    assert msgspec.json.decode(draft.meta, type=Meta) == FULL


def test_an_id_that_can_be_derived_is_not_stored_and_stays_the_same() -> None:
    event = recorded(Meta("cmd", 1))
    draft = again(event).draft
    meta = msgspec.json.decode(draft.meta, type=Meta)
    assert (meta.id, event_id("", "account-17", meta.command, meta.index)) == ("", event.id)


def test_time_is_when_it_occurred_and_else_when_it_was_recorded() -> None:
    event = to_cloudevent(recorded(Meta("c")))
    assert event["time"] == event["recordedtime"] == "2026-01-31T12:00:00.123456Z"
    assert to_cloudevent(recorded(Meta("c", occurred=0)))["time"] == "1970-01-01T00:00:00.000000Z"
    assert msgspec.json.decode(again(recorded(Meta("c"))).draft.meta, type=Meta).occurred == TIME


def test_positions_are_texts_and_attributes_keep_to_the_grammar_of_cloudevents() -> None:
    event = to_cloudevent(recorded(FULL, schema=2**31 - 1, tenant="acme"))
    assert event["foldposition"] == str(2**40)
    extensions = {name: value for name, value in event.items() if name not in {"data", "data_base64"}}
    assert all(name.isalnum() and name.islower() and name.isascii() for name in extensions)
    assert all(isinstance(one, str | bool) or -(2**31) <= one < 2**31 for one in extensions.values())
    assert not any("\x1b" in one for one in extensions.values() if isinstance(one, str))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"\x00\xff\n", "binary"), (b"zzz", "zstd"), (b'{"a":\n1}', "json"), (b"null", "json"), (b'"x"', "json")],
)
def test_bodies_survive_byte_by_byte(body: bytes, encoding: str) -> None:
    event = recorded(Meta("c"), body, encoding)
    assert to_line(event).count(b"\n") == 1
    draft = again(event).draft
    assert (draft.body, draft.encoding) == (body, encoding)
    assert msgspec.json.decode(draft.meta, type=Meta).headers == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    headers=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=12), json_values, max_size=4),
    data=json_values,
)
def test_any_headers_and_data_survive(headers, data) -> None:
    body = json.dumps(data).encode()
    draft = again(recorded(Meta("c", headers=headers), body)).draft
    assert msgspec.json.decode(draft.meta, type=Meta).headers == headers
    assert draft.body == body


def test_data_may_be_as_deep_in_a_line_as_alone() -> None:
    deep = b"[" * limits.NESTING + b"]" * limits.NESTING
    assert again(recorded(Meta("c"), deep)).draft.body == deep
    with pytest.raises(Invalid, match="nested"):
        again(recorded(Meta("c"), b"[[" + deep + b"]]"))


def test_a_foreign_event_keeps_what_foldlog_does_not_know_and_gives_it_back() -> None:
    foreign = {
        **PLAIN,
        "dataschema": "urn:x",
        "datacontenttype": "application/xml",
        "other": 5,
        "unset": None,
        "data": "<a/>",
    }
    tenant, stream, draft = from_cloudevent(foreign)
    assert (tenant, stream, draft.body, draft.encoding, draft.schema) == ("", "account-17", b'"<a/>"', "json", 1)
    kind = Kind("account", draft.type, 1, draft.encoding)
    back = to_cloudevent(Recorded(1, "", stream, 1, kind, TIME, draft.meta, draft.body, "L"))
    wanted = {name: value for name, value in foreign.items() if value is not None and name != "data"}
    assert {name: back[name] for name in wanted} == wanted


def test_the_category_takes_in_events_whose_subject_is_no_stream() -> None:
    assert from_cloudevent({**PLAIN, "subject": "Order 5"}, "shop").stream == "shop-Order 5"
    assert from_cloudevent({**PLAIN, "subject": None}, "shop").stream == "shop-/s"
    assert from_cloudevent(PLAIN, "shop").stream == "account-17"
    with pytest.raises(Invalid, match="--category"):
        from_cloudevent({**PLAIN, "subject": "Order 5"})


BAD = {
    "old version": {"specversion": "0.3"},
    "no id": {"id": None},
    "empty id": {"id": ""},
    "id is a number": {"id": 5},
    "no type": {"type": None},
    "bad type": {"type": "a b"},
    "bad stream": {"subject": "Account-17"},
    "control characters": {"subject": "account-\x1b"},
    "long key": {"subject": f"account-{'k' * 257}"},
    "bad tenant": {"foldtenant": "A"},
    "bad schema": {"foldschema": 0},
    "schema is true": {"foldschema": True},
    "negative index": {"foldindex": -1},
    "no time zone": {"time": "2026-01-31T12:00:00"},
    "no time": {"time": "yesterday"},
    "extension with a bad name": {"Not_ok": "x"},
    "extension with a list": {"other": []},
    "extension beyond 32 bits": {"other": 2**31},
    "extension with a fraction": {"other": 1.5},
    "tags are no list": {"foldtags": '"a:b"'},
    "tag without value": {"foldtags": '["a"]'},
    "too many tags": {"foldtags": json.dumps([f"a:{n}" for n in range(17)])},
    "headers are no object": {"foldheaders": "[]"},
    "headers with a key twice": {"foldheaders": '{"a":1,"a":2}'},
    "both kinds of data": {"data": 1, "data_base64": "AA=="},
    "no base64": {"data_base64": "... base64 encoded string ..."},
    "json that is none": {"data_base64": base64.b64encode(b"{").decode(), "datacontenttype": "application/json"},
    "data in an encoding of bytes": {"data": 1, "foldencoding": "zstd"},
    "too much data": {"data": "x" * limits.EVENT_BYTES},
    "too many attributes": {"other": "x" * limits.META_BYTES},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_what_breaks_a_rule_is_refused(change) -> None:
    assert from_cloudevent(PLAIN)
    with pytest.raises((Invalid, TooLarge)):
        from_cloudevent({**PLAIN, **change})


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"1",
    b'{"id":1,"id":2}',
    b'{"data":NaN}',
    b'{"data":{"a":1,"a":2}}',
    b"\xff",
    b'{"a":"\\ud800"}',
    b'{"data":1e999}',
    b"[" * 10_000 + b"]" * 10_000,
    b'{"data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
]


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_line_is_refused(line: bytes) -> None:
    with pytest.raises(Invalid):
        from_line(line)


@pytest.mark.skipif(not EXAMPLES.exists(), reason=f"no {EXAMPLES}: FOLDLOG_DATA names the folder of data sets")
def test_the_examples_of_the_specification() -> None:
    texts = [one["text"] for one in json.loads(EXAMPLES.read_text()) if one["lang"] == "JSON"]
    found = [json.loads(text) for text in texts]
    events = [event for one in found for event in (one if isinstance(one, list) else [one])]
    assert len(events) == 8
    taken = 0
    for event in events:
        line = json.dumps(event).encode()
        if "..." in event.get("data_base64", ""):
            with pytest.raises(Invalid, match="data_base64"):
                from_cloudevent(from_line(line), "example")
            continue
        _, stream, draft = from_cloudevent(from_line(line), "example")
        kind = Kind("example", draft.type, draft.schema, draft.encoding)
        back = msgspec.json.decode(to_line(Recorded(1, "", stream, 1, kind, TIME, draft.meta, draft.body, "L")))
        wanted = {name: value for name, value in event.items() if value is not None and name != "time"}
        assert {name: back.get(name) for name in wanted} == wanted
        taken += 1
    assert taken == 6
