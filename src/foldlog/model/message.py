"""The values that travel: drafts on their way in, recorded events on their way out, commands and receipts between."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import msgspec

from foldlog.errors import Corrupt, Undecodable

E = TypeVar("E")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(micros: int) -> datetime:
    """Microseconds since 1970 as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def to_micros(moment: datetime) -> int:
    """An aware datetime as microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class Meta(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The part of the envelope that travels as JSON beside the body. Unknown keys of `headers` are kept as they are.

    `command` and `index` give the event's id, unless it came with an `id` of its own (import). `occurred` is in
    microseconds since 1970, and absent where it happened when it was recorded.
    """

    command: str = ""
    index: int = 0
    correlation: str = ""
    causation: str = ""
    actor: str = ""
    traceparent: str = ""
    occurred: int | None = None
    tags: tuple[str, ...] = ()
    id: str = ""
    headers: dict[str, Any] = {}


encode_meta: Callable[[Meta], bytes] = msgspec.json.Encoder().encode
decode_meta: Callable[[bytes], Meta] = msgspec.json.Decoder(Meta).decode


def _unbound(_body: bytes) -> Any:
    raise Undecodable("read this log through an App to decode its events: a bare store knows no types")


class Kind:
    """One way in which events are stored; engines share one object among all events of the kind.

    `decode` turns a stored body into the event; the App's schemas put it there.
    """

    __slots__ = ("category", "decode", "encoding", "schema", "type")

    def __init__(
        self, category: str, type: str, schema: int, encoding: str, decode: Callable[[bytes], Any] = _unbound
    ) -> None:
        self.category, self.type, self.schema, self.encoding = category, type, schema, encoding
        self.decode = decode


KindFactory = Callable[[str, str, int, str], Kind]
"""(category, type, schema version, encoding) -> Kind. Engines call it once for each kind they meet, and, before they
answer a read, for every kind in the log that is of one of the read's types."""


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into the log: stored name, schema version, encoded body and meta, tags."""

    type: str
    schema: int
    body: bytes
    meta: bytes = b"{}"
    tags: tuple[str, ...] = ()
    encoding: str = "json"


class Recorded(msgspec.Struct, Generic[E], frozen=True, gc=False):
    """A stored event and its envelope: raw columns; the decoded parts are properties, worked out when asked for.

    `position` is the place in the whole log, `version` the number in the stream (from 1), `time` the store's clock in
    microseconds since 1970, `log` the random id of the log that it stands in. `data` raises `Undecodable` where the
    body does not fit the code, or no listed part knows the type; everything else can still be read.
    """

    position: int
    tenant: str
    stream: str
    version: int
    kind: Kind
    time: int
    raw_meta: bytes
    body: bytes
    log: str = ""

    @property
    def data(self) -> E:
        """The event itself, upcast to the newest version."""
        try:
            data: E = self.kind.decode(self.body)
        except Undecodable as error:
            raise Undecodable(f"{self.stream}@{self.version} (position {self.position}): {error.message}") from error
        return data

    @property
    def meta(self) -> Meta:
        """The envelope's JSON part, decoded. Errors: `Corrupt`."""
        try:
            return decode_meta(self.raw_meta)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Corrupt(f"{self.stream}@{self.version} (position {self.position}): its envelope: {error}") from error

    @property
    def id(self) -> str:
        """The event's id: its own (imported events), or derived from tenant, stream, command id and index."""
        meta = self.meta
        return meta.id or event_id(self.tenant, self.stream, meta.command, meta.index)

    @property
    def type(self) -> str:
        """The stored name."""
        return self.kind.type

    @property
    def schema(self) -> int:
        """The schema version it was written with."""
        return self.kind.schema

    @property
    def encoding(self) -> str:
        """How the body is encoded; "json" today."""
        return self.kind.encoding

    @property
    def category(self) -> str:
        """The stream's category."""
        return self.kind.category

    @property
    def key(self) -> str:
        """The stream's key: what stands behind the first `-`."""
        return self.stream.partition("-")[2]

    @property
    def recorded(self) -> datetime:
        """When the store took it, in UTC, by the store's clock."""
        return to_datetime(self.time)

    @property
    def occurred(self) -> datetime:
        """When it happened, where that was said (import, devices), else when it was recorded."""
        moment = self.meta.occurred
        return to_datetime(self.time if moment is None else moment)

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags, `field:value`."""
        return self.meta.tags

    @property
    def headers(self) -> dict[str, Any]:
        """What else came with it; unknown entries are kept."""
        return self.meta.headers


def event_id(tenant: str, stream: str, command: str, index: int) -> str:
    """A UUID (version 8 of RFC 9562) from the BLAKE2b digest of where the event came from.

    A repeated command derives the same ids, so that whoever receives its events twice can tell.
    """
    digest = bytearray(blake2b(f"{tenant}\0{stream}\0{command}\0{index}".encode(), digest_size=16).digest())
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Receipt(msgspec.Struct, frozen=True):
    """What `send` did: the stream, its version after the command, the position of the last event written (None where
    nothing was, or where the engine assigns positions later), and the events. `repeated` says that the command id was
    known and nothing was done again; the events are then those of the first time, as far as they are still decodable.
    """

    stream: str
    version: int
    position: int | None
    events: tuple[Any, ...] = ()
    tenant: str = ""
    command_id: str = ""
    repeated: bool = False


class Send:
    """A command addressed to one decider's entity; what a handler or a process returns to make something else happen.

    `decider` is the Decider or its category, `key` the stream's key. With `insist` a refusal counts as a failed
    attempt: it is tried again by the part's schedule, then kept as a dead letter; else a refusal is final.
    """

    __slots__ = ("command", "decider", "insist", "key")

    def __init__(self, decider: Any, key: str, command: Any, *, insist: bool = False) -> None:
        self.decider: str = decider if isinstance(decider, str) else decider.category
        self.key, self.command, self.insist = key, command, insist

    def __repr__(self) -> str:
        return f"Send({self.decider!r}, {self.key!r}, {self.command!r}{', insist=True' if self.insist else ''})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Send):
            return NotImplemented
        mine = self.decider, self.key, self.command, self.insist
        return mine == (other.decider, other.key, other.command, other.insist)

    def __hash__(self) -> int:
        return hash((self.decider, self.key))


def sends(answer: object) -> Sequence[Send] | None:
    """A handler's answer as commands: None and one Send are lists too; anything else is None."""
    if answer is None:
        return ()
    if isinstance(answer, Send):
        return (answer,)
    if isinstance(answer, list | tuple) and all(isinstance(one, Send) for one in answer):
        return answer
    return None
