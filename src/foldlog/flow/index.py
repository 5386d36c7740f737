"""How a field of a row stands in an index: what has an order, and how large it may be."""

import math
from datetime import UTC, date, datetime
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin

from foldlog import limits
from foldlog.errors import Invalid, TooLarge
from foldlog.ports.store import IndexValue


def index_value(value: Any) -> IndexValue:
    """How a field's value stands in an index: numbers and texts as they are, times in UTC as text that sorts.

    Errors: `Invalid` for what has no order here (a Decimal, a list): keep a sortable copy in a field of its own.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return None
    if isinstance(value, str):
        return _checked_text(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return _checked_number(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="microseconds")
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    raise Invalid(f"a {type(value).__name__} cannot be indexed: keep a number, text or time in a field of its own")


def kind_of(annotation: Any) -> str:
    """Whether a field of this type stands in an index as "numbers" or as "texts"; "" where it may be both."""
    inner = get_args(annotation)
    if inner and (get_origin(annotation) is Union or isinstance(annotation, UnionType)):
        kinds = {kind_of(one) for one in inner if one is not type(None)}
        return kinds.pop() if len(kinds) == 1 else ""
    if not isinstance(annotation, type):
        return ""
    if issubclass(annotation, Enum):
        kinds = {kind_of(type(one.value)) for one in annotation}
        return kinds.pop() if len(kinds) == 1 else ""
    return "numbers" if issubclass(annotation, int | float) else "texts" if issubclass(annotation, str | date) else ""


# Both are checked here too, because what the store refuses, it refuses for the whole page.
def _checked_text(text: str) -> str:
    if text.isascii():
        size = len(text)
    elif any("\ud800" <= one <= "\udfff" for one in text):
        raise Invalid("a text with a lone surrogate cannot be indexed")
    else:
        size = len(text.encode())
    if size > limits.INDEXED_BYTES:
        raise TooLarge(f"a text of over {limits.INDEXED_BYTES} bytes cannot be indexed: index a part of it")
    return text


def _checked_number(number: float) -> float:
    if not (-(2**63) <= number < 2**63 if isinstance(number, int) else math.isfinite(number)):
        raise Invalid(f"{number} cannot be indexed: it has no place among numbers of 64 bits")
    return number
