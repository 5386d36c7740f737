"""What came of a process's command, at rest and as the value that comes back: `Accepted` or `Rejected`."""

from collections.abc import Callable
from typing import Any

import msgspec

from foldlog.errors import Invalid, Rejected, Undecodable
from foldlog.model.process import Accepted


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored body: the command as it was sent, and, of a refused one, why."""

    decider: str
    key: str
    name: str
    version: int
    body: msgspec.Raw
    code: str = ""
    message: str = ""
    data: Any = None


_decoder = msgspec.json.Decoder(Answered)
Encode = Callable[[Any], tuple[Any, bytes, Any]]
Decode = Callable[[str, int, bytes], Any]


class AnswerCodec:
    """Encodes and decodes `Accepted` or `Rejected`, with the command inside as `encode` and `decode` do it."""

    __slots__ = ("_decode", "_encode", "_kind")

    def __init__(self, kind: type, encode: Encode, decode: Decode) -> None:
        self._kind, self._encode, self._decode = kind, encode, decode

    def encode(self, value: Any) -> tuple[bytes, Any]:
        """(body, the value as it will be read). Errors: `Invalid`, `TooLarge`."""
        mark, body, again = self._encode(value.command)
        stored = Answered(value.decider, value.key, mark.name, mark.version, msgspec.Raw(body))
        if not isinstance(value, Rejected):
            return answered(stored), Accepted(again, value.decider, value.key)
        stored = refusal(stored, value)
        return answered(stored), Rejected(value.code, value.message, stored.data, again, value.decider, value.key)

    def decode(self, body: bytes) -> Any:
        """The stored value, its command upcast to the newest version. Errors: `Undecodable`."""
        try:
            found = _decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise Undecodable(f"the stored answer to a command cannot be read: {error}") from error
        command = self._decode(found.name, found.version, bytes(found.body))
        if self._kind is Rejected:
            return Rejected(found.code, found.message, found.data, command, found.decider, found.key)
        return Accepted(command, found.decider, found.key)

    def from_outside(self, _data: bytes | str) -> Any:
        """Nobody else writes these. Errors: `Invalid`."""
        raise Invalid("what became of a command is recorded by Foldlog alone")


def refusal(stored: Answered, rejected: Rejected) -> Answered:
    """The same, refused. Errors: `Invalid` for data that JSON cannot hold."""
    found = msgspec.structs.replace(stored, code=rejected.code, message=rejected.message, data=rejected.data)
    return _decoder.decode(answered(found))


def answered(stored: Answered) -> bytes:
    """The body. Errors: `Invalid` for data that JSON cannot hold."""
    try:
        return msgspec.json.encode(stored)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"the data of a Rejected must be JSON-able: {error}") from error
