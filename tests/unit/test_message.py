from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog import Decider, Receipt, Recorded, Send
from foldlog.errors import Corrupt, Undecodable
from foldlog.model.message import Draft, Kind, Meta, encode_meta, event_id, sends, to_datetime, to_micros

names = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)


def recorded(meta: Meta | None = None, kind: Kind | None = None) -> Recorded:
    return Recorded(
        7,
        "acme",
        "account-17-b",
        3,
        kind or Kind("account", "account.opened", 2, "json", lambda body: body.decode()),
        1_767_225_600_000_001,
        encode_meta(meta or Meta("c1", 4)),
        b"hello",
        "log",
    )


def test_a_recorded_event_works_its_parts_out():
    event = recorded(Meta("c1", 4, "corr", "cause", "ann", tags=("a:1",), headers={"x": [1, {"y": None}]}))
    assert (event.data, event.type, event.schema, event.encoding) == ("hello", "account.opened", 2, "json")
    assert (event.category, event.key) == ("account", "17-b")
    assert event.recorded == event.occurred == datetime(2026, 1, 1, microsecond=1, tzinfo=UTC)
    assert event.id == event_id("acme", "account-17-b", "c1", 4)
    assert (event.tags, event.headers) == (("a:1",), {"x": [1, {"y": None}]})
    assert (event.meta.correlation, event.meta.causation, event.meta.actor) == ("corr", "cause", "ann")


def test_an_imported_event_keeps_its_id_and_its_time():
    event = recorded(Meta(id="their-id", occurred=0))
    assert event.id == "their-id"
    assert event.occurred == datetime(1970, 1, 1, tzinfo=UTC)


def test_an_event_that_cannot_be_decoded_says_where_it_stands_and_shows_the_rest():
    event = recorded(kind=Kind("account", "account.opened", 2, "json"))
    with pytest.raises(Undecodable, match=r"account-17-b@3 \(position 7\): read this log through an App"):
        _ = event.data
    assert event.meta.command == "c1"


@pytest.mark.parametrize("raw", [b"", b"{", b'{"index":"x"}', b'{"command":"\xff"}'])
def test_a_damaged_envelope_is_corrupt(raw):
    event = msgspec.structs.replace(recorded(), raw_meta=raw)
    with pytest.raises(Corrupt, match=r"account-17-b@3 \(position 7\): its envelope"):
        _ = event.id


def test_an_envelope_stores_only_what_is_said():
    assert encode_meta(Meta()) == b"{}"
    assert encode_meta(Meta("c", 1)) == b'{"command":"c","index":1}'
    assert Draft("a", 1, b"{}").meta == b"{}"


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive_as_microseconds(moment):
    assert to_datetime(to_micros(moment)) == moment


def test_a_time_of_another_zone_is_the_same_instant():
    assert to_micros(datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == 0


@given(names, names, names, st.integers(0, 10_000))
def test_an_event_id_is_a_uuid_of_version_8_and_always_the_same(tenant, stream, command, index):
    id = event_id(tenant, stream, command, index)  # noqa: A001 - the word of the envelope
    assert UUID(id).version == 8
    assert str(UUID(id)) == id == event_id(tenant, stream, command, index)
    assert id != event_id(tenant, stream, command, index + 1)


def test_a_send_is_a_value():
    decider = Decider("account", lambda command, state: [], lambda state, event: state, initial=None)
    send = Send(decider, "17", 5)
    assert send == Send("account", "17", 5)
    assert hash(send) == hash(Send("account", "17", 6))
    assert send != Send("account", "18", 5)
    assert send != ("account", "17", 5)
    assert repr(send) == "Send('account', '17', 5)"


def test_the_answers_of_a_handler():
    send = Send("account", "17", 5)
    assert sends(None) == ()
    assert sends(send) == (send,)
    assert sends([send, send]) == [send, send]
    assert sends(()) == ()
    for wrong in (5, [send, 5], "send", {send}):
        assert sends(wrong) is None


def test_a_receipt_is_a_value():
    assert Receipt("a-1", 1, None) == Receipt("a-1", 1, None, (), "", "", repeated=False)
    with pytest.raises(TypeError):
        replace(recorded(), version=5)  # a Recorded is a Struct, not a dataclass
