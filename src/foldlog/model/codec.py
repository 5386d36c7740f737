"""Values to bytes and back: JSON by msgspec, strictly, and checked on the way in.

What does not come back exactly as it went in is refused when it is written, not found out when it is read: every value
is encoded, decoded and compared before anything is stored.
"""

import json
from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured, TooLarge, Undecodable
from foldlog.model.shape import fault, same, shape_of, unstorable

T = TypeVar("T")


class Codec(Generic[T]):
    """Encodes and decodes values of one type. `what` names it in error messages."""

    __slots__ = ("_decoder", "_shape", "decode_strictly", "encode_loosely", "most", "what")

    def __init__(self, type: Any, what: str, most: int = limits.EVENT_BYTES) -> None:
        try:
            self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type, strict=True)
            self._shape = shape_of(type)
        except NameError as error:
            raise Misconfigured(
                f"{what}: {error}. The annotation cannot be resolved: define the name at module level, and import it "
                "for real, not under TYPE_CHECKING"
            ) from error
        except TypeError as error:
            raise Misconfigured(f"{what} cannot be stored: {error}") from error
        if name := unstorable(self._shape):
            raise Misconfigured(f"{what} cannot be stored: it holds a {name}, which JSON does not know")
        self.decode_strictly: Callable[[bytes], T] = self._decoder.decode
        self.encode_loosely: Callable[[Any], bytes] = msgspec.json.Encoder().encode
        self.what, self.most = what, most

    def encode(self, value: T) -> tuple[bytes, T]:
        """(body, the value as it will be read). Errors: `Invalid` where the value does not survive, `TooLarge`."""
        try:
            body = self.encode_loosely(value)
            again = self.decode_strictly(body)
            if again != value and not same(value, again):
                raise Invalid(f"{self.what} would be read as {_short(again)}, not as {_short(value)}: {_HINT}")
        except msgspec.ValidationError as error:
            raise Invalid(f"{self.what} does not fit its own fields: {error}") from error
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise Invalid(f"{self.what} cannot be stored: {error}") from error
        self._check_size(len(body))
        if body.count(b"{") + body.count(b"[") > limits.NESTING:
            parse_json(body)
        return body, again

    def decode(self, body: bytes) -> T:
        """The stored value. Errors: `Undecodable`."""
        try:
            return self.decode_strictly(body)
        except Exception as error:  # of msgspec, or of the class's own __post_init__
            raise Undecodable(
                f"the stored {self.what} does not fit the code: {error}. Change the type back, or give it a new "
                "version and an Upcast"
            ) from error

    def from_outside(self, data: bytes | str) -> T:
        """A value from text that somebody else wrote: strict JSON, no unknown fields anywhere.

        Errors: `Invalid`, `TooLarge`.
        """
        self._check_size(len(data))
        raw = parse_json(data)
        try:
            value = self.decode_strictly(data if isinstance(data, bytes) else data.encode())
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Invalid(f"{self.what}: {error}") from error
        if found := fault(raw, self._shape):
            raise Invalid(f"{self.what} {found}")
        return value

    def _check_size(self, size: int) -> None:
        if size > self.most:
            raise TooLarge(f"{self.what} has {size:,} bytes; the limit is {self.most:,}")


_SHOWN = 200  # characters of a value in a message
_HINT = "NaN, infinities, lists for tuples, time zones with seconds, values that JSON has no word for do not survive"


def parse_json(data: bytes | str, nesting: int = limits.NESTING) -> Any:
    """Strict JSON from outside (RFC 8259, with I-JSON's ban on duplicate keys, RFC 7493): no NaN, no infinities, no
    duplicate keys, no lone surrogates, at most `nesting` levels. Errors: `Invalid`."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        text.encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"not acceptable as JSON: {error}") from error
    _check_depth(value, nesting)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    for key, value in pairs:
        _no_surrogate(key)
        if isinstance(value, str):
            _no_surrogate(value)
    return found


def _no_surrogate(text: str) -> None:
    if not text.isascii():
        text.encode("utf-8")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is beyond a double")
    return number


def _check_depth(value: Any, nesting: int) -> None:
    level, depth = [value], 0
    while level:
        deeper: list[Any] = []
        inside = False
        for one in level:
            if isinstance(one, dict | list):
                inside = True
                deeper.extend(one.values() if isinstance(one, dict) else one)
            elif isinstance(one, str) and not one.isascii():
                _checked_text(one)
        if inside and depth == nesting:
            raise Invalid(f"not acceptable as JSON: nested deeper than {nesting} levels")
        level, depth = deeper, depth + 1


def _checked_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Invalid("not acceptable as JSON: a lone surrogate") from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
