"""CloudEvents 1.0 in JSON and back: what export writes and import reads, one event a line.

`subject` is the stream, `time` when it happened. Attributes that CloudEvents documents carry what they are meant for
(`correlationid`, `causationid`, `recordedtime`, `traceparent`); the rest of the envelope travels in extensions that
start with `fold`. Extensions that Foldlog does not know are kept as headers and written out again. Positions and
versions are texts, because a CloudEvents integer has 32 bits.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Invalid, TooLarge
from foldlog.model.codec import parse_json
from foldlog.model.message import Draft, Meta, Recorded, encode_meta, event_id, to_datetime, to_micros
from foldlog.model.query import check_tag
from foldlog.model.stream import check_name, check_tenant, check_text, split_stream, stream_of

JSON_TYPE, BINARY_TYPE = "application/json", "application/octet-stream"
SOURCE = "urn:foldlog:"
"""A source that starts so names a log of Foldlog; it is not kept, because the new log is a source of its own."""

_CORE = frozenset(
    "specversion id source type subject time datacontenttype dataschema data data_base64".split()  # noqa: SIM905 - names in a row read better
)
_OWN = frozenset(
    "foldschema foldtenant foldposition foldversion foldcommand foldindex foldactor foldtags foldheaders foldencoding "  # noqa: SIM905 - as above: names in a row
    "recordedtime correlationid causationid traceparent".split()
)
_KNOWN = _CORE | _OWN
_FOREIGN = {"source": "ce-source", "datacontenttype": "ce-datacontenttype", "dataschema": "ce-dataschema"}
"""Core attributes that the envelope has no place for, and the headers that keep them."""
_EXTENSION = re.compile(r"[a-z0-9]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode
_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_check_name = lru_cache(maxsize=limits.PAGE)(check_name)
_check_tag = lru_cache(maxsize=limits.STREAM_CACHE)(check_tag)


class _Data(msgspec.Struct):
    data: msgspec.Raw


_data = msgspec.json.Decoder(_Data).decode


class Addressed(NamedTuple):
    """A draft and where it goes."""

    tenant: str
    stream: str
    draft: Draft


def to_cloudevent(event: Recorded[Any]) -> dict[str, Any]:
    """The CloudEvent of a recorded event, ready for msgspec; `data` is the stored body as it is (`msgspec.Raw`)."""
    meta, headers = event.meta, {}
    found: dict[str, Any] = {
        "specversion": "1.0",
        "id": meta.id or event_id(event.tenant, event.stream, meta.command, meta.index),
        "source": SOURCE + event.log,
        "type": event.kind.type,
        "subject": event.stream,
        "time": _time(event.time if meta.occurred is None else meta.occurred),
        "datacontenttype": JSON_TYPE if event.kind.encoding == "json" else BINARY_TYPE,
        "recordedtime": _time(event.time),
        "foldposition": str(event.position),
        "foldversion": str(event.version),
        "foldschema": event.kind.schema,
    }
    optional = {
        "foldtenant": event.tenant,
        "foldcommand": meta.command,
        "foldindex": meta.index,
        "foldactor": meta.actor,
        "correlationid": meta.correlation,
        "causationid": meta.causation,
        "traceparent": meta.traceparent,
    }
    found.update({name: value for name, value in optional.items() if value})
    if meta.tags:
        found["foldtags"] = _encode(meta.tags).decode()
    if meta.headers:
        headers = _extensions(found, meta.headers)
    if headers:
        found["foldheaders"] = _encode(headers).decode()
    _put_body(found, event)
    return found


def from_cloudevent(attributes: Mapping[str, Any], category: str = "") -> Addressed:
    """(tenant, stream, draft) of a CloudEvent; `data` is a JSON value, or `msgspec.Raw` to be kept byte by byte.

    A subject that is no stream is refused, unless `category` says where such events go: to `category-subject`, or
    `category-source` where there is no subject. Errors: `Invalid` for what is no CloudEvent or breaks the grammar of
    names, `TooLarge`.
    """
    if attributes.get("specversion") != "1.0":
        raise Invalid("no CloudEvent: specversion must be '1.0'")
    own_id, source, name = (_required(attributes, name) for name in ("id", "source", "type"))
    tenant = check_tenant(_text(attributes, "foldtenant"))
    stream = _stream(_text(attributes, "subject"), source, category)
    schema = _whole(attributes, "foldschema", 1)
    headers = _headers(attributes, source)
    body, encoding = _body(attributes, headers)
    command, index = _text(attributes, "foldcommand"), _whole(attributes, "foldindex", 0)
    time = _text(attributes, "time")
    meta = Meta(
        command,
        index,
        _text(attributes, "correlationid"),
        _text(attributes, "causationid"),
        _text(attributes, "foldactor"),
        _text(attributes, "traceparent"),
        _micros(time) if time else None,
        _read_tags(_text(attributes, "foldtags")),
        # An id that can be derived again is not stored: most of an exported log's are.
        "" if command and own_id == event_id(tenant, stream, command, index) else own_id,
        headers,
    )
    raw_meta = encode_meta(meta)
    if len(raw_meta) > limits.META_BYTES:
        raise TooLarge(f"attributes of {len(raw_meta):,} bytes; the limit is {limits.META_BYTES:,}")
    if len(body) > limits.EVENT_BYTES:
        raise TooLarge(f"data of {len(body):,} bytes; the limit is {limits.EVENT_BYTES:,}")
    return Addressed(tenant, stream, Draft(_check_name(name), schema, body, raw_meta, meta.tags, encoding))


def to_line(event: Recorded[Any]) -> bytes:
    """The event's line of an export."""
    return _encode(to_cloudevent(event)) + b"\n"


def from_line(line: bytes) -> dict[str, Any]:
    """A line's attributes, read strictly; `data` stays as it was written (`msgspec.Raw`). Errors: `Invalid`."""
    found = parse_json(line, limits.NESTING + 1)  # the data of a line stands one level down
    if not isinstance(found, dict):
        raise Invalid("no CloudEvent: a line is one JSON object")
    if "data" in found:
        found["data"] = _data(line).data
    return found


def _put_body(found: dict[str, Any], event: Recorded[Any]) -> None:
    body = event.body
    if event.kind.encoding == "json" and b"\n" not in body:
        found["data"] = msgspec.Raw(body)
        return
    if event.kind.encoding not in {"json", "binary"}:
        found["foldencoding"] = event.kind.encoding
    found["data_base64"] = base64.b64encode(body).decode()


def _extensions(found: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    """Puts the headers that are CloudEvents attributes into `found`; returns the others."""
    others: dict[str, Any] = {}
    foreign = {header: name for name, header in _FOREIGN.items()}
    for name, value in headers.items():
        if name in foreign and isinstance(value, str) and value and not _CONTROL.search(value):
            found[foreign[name]] = value
        elif name not in _KNOWN and _EXTENSION.fullmatch(name) and _simple(value) and value != "":
            found[name] = value
        else:
            others[name] = value
    return others


def _simple(value: Any) -> bool:
    if isinstance(value, str):
        return not _CONTROL.search(value)
    return isinstance(value, bool) or (type(value) is int and -(2**31) <= value < 2**31)


def _headers(attributes: Mapping[str, Any], source: str) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not source.startswith(SOURCE):
        headers[_FOREIGN["source"]] = source
    kind = _text(attributes, "datacontenttype")
    if kind and kind != (BINARY_TYPE if "data_base64" in attributes else JSON_TYPE):
        headers[_FOREIGN["datacontenttype"]] = kind
    if schema := _text(attributes, "dataschema"):
        headers[_FOREIGN["dataschema"]] = schema
    for name in attributes.keys() - _KNOWN:
        value = attributes[name]
        if not _EXTENSION.fullmatch(name) or not (value is None or _simple(value)):
            raise Invalid(
                f"no CloudEvent: bad extension {ascii(name)[:80]}: a-z and 0-9 name a text, number or boolean"
            )
        if value is not None:
            headers[name] = value
    if own := _text(attributes, "foldheaders"):
        kept = parse_json(own)
        if not isinstance(kept, dict):
            raise Invalid("foldheaders must hold a JSON object")
        headers.update(kept)
    return headers


def _body(attributes: Mapping[str, Any], headers: dict[str, Any]) -> tuple[bytes, str]:
    encoding = _text(attributes, "foldencoding")
    if "data_base64" not in attributes or attributes["data_base64"] is None:
        if encoding not in {"", "json"}:
            raise Invalid(f"data in foldencoding {encoding[:80]!r} must stand in data_base64")
        data = attributes.get("data")
        return (bytes(data) if isinstance(data, msgspec.Raw) else _encode(data)), "json"
    if "data" in attributes:
        raise Invalid("no CloudEvent: it has both data and data_base64")
    try:
        body = base64.b64decode(_text(attributes, "data_base64"), validate=True)
    except binascii.Error as error:
        raise Invalid(f"data_base64 cannot be read: {error}") from error
    kind = _text(attributes, "datacontenttype").partition(";")[0].strip()
    if encoding == "json" or (not encoding and (kind == JSON_TYPE or kind.endswith("+json"))):
        parse_json(body)
        if headers.get(_FOREIGN["datacontenttype"]) == JSON_TYPE:
            del headers[_FOREIGN["datacontenttype"]]
        return body, "json"
    return body, check_text("foldencoding", encoding or "binary", limits.PART_CHARS)


def _stream(subject: str, source: str, category: str) -> str:
    try:
        split_stream(subject)
    except Invalid as error:
        if category:
            return stream_of(category, subject or source)
        raise Invalid(f"{error.message}: the subject names the stream; --category gives other events one") from error
    return subject


def _read_tags(text: str) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        tags = _tags(text)
    except msgspec.MsgspecError as error:
        raise Invalid(f"foldtags must hold a JSON list of texts: {error}") from error
    if len(tags) > limits.TAGS:
        raise TooLarge(f"{len(tags)} tags; an event has at most {limits.TAGS}")
    for tag in tags:
        _check_tag(tag)
    return tags


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value:
        raise Invalid(f"no CloudEvent: {name} must be a text that is not empty")
    return value


def _required(attributes: Mapping[str, Any], name: str) -> str:
    value = _text(attributes, name)
    if not value:
        raise Invalid(f"no CloudEvent: {name} is missing")
    return value


def _whole(attributes: Mapping[str, Any], name: str, least: int) -> int:
    value = attributes.get(name)
    if value is None:
        return least
    if type(value) is not int or not least <= value < 2**31:
        raise Invalid(f"{name} must be a whole number from {least} with at most 32 bits")
    return value


def _time(micros: int) -> str:
    return f"{to_datetime(micros).isoformat(timespec='microseconds')[:-6]}Z"


def _micros(text: str) -> int:
    try:
        moment = msgspec.convert(text, datetime)
        if moment.tzinfo is None:
            raise Invalid(f"time {ascii(text)[:80]} has no time zone")
        return to_micros(moment)
    except (msgspec.ValidationError, OverflowError) as error:
        raise Invalid(f"time {ascii(text)[:80]} is no RFC 3339 timestamp") from error
