"""The grammar of names: streams, tenants, stored names, parts and tags; checked here for every surface.

A stream is `category-key`, split at the first `-`: category `[a-z][a-z0-9_]*`, key any text of 1 to 256 UTF-8 bytes
without control characters, line separators or lone surrogates. Keys are compared byte by byte; Foldlog does not
normalise Unicode.
"""

import re
from functools import lru_cache

from foldlog import limits
from foldlog.errors import Invalid

ANY = -1
"""Expected version: whatever it is."""
EXISTS = -2
"""Expected version: at least one event."""
NONE = 0
"""Expected version: no event yet."""

_SHOWN = 80  # characters of a bad name in a message
_CATEGORY = re.compile(r"[a-z][a-z0-9_]*")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._/:-]*")
_PART = re.compile(r"[a-z][a-z0-9_-]*")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_category(category: str) -> str:
    """The category itself, or `Invalid`."""
    if not isinstance(category, str) or not _CATEGORY.fullmatch(category) or len(category) > limits.CATEGORY_CHARS:
        raise Invalid(
            f"bad category {_shown(category)}: write a-z first, then a-z, 0-9 or _, at most {limits.CATEGORY_CHARS}"
        )
    return category


def check_text(what: str, text: str, most: int) -> str:
    """Text of 1 to `most` UTF-8 bytes without control characters, line separators and lone surrogates."""
    if not isinstance(text, str) or not text:
        raise Invalid(f"bad {what} {_shown(text)}: write a text of at least one character")
    if _UNSAFE.search(text):
        raise Invalid(f"bad {what} {_shown(text)}: control characters, line separators and lone surrogates are refused")
    if len(text) > most or len(text.encode()) > most:
        raise Invalid(f"bad {what} {_shown(text)}: longer than {most} bytes")
    return text


@lru_cache(maxsize=limits.STREAM_CACHE)
def stream_of(category: str, key: str) -> str:
    """`category-key`, both checked."""
    return f"{check_category(category)}-{check_text('stream key', key, limits.KEY_BYTES)}"


@lru_cache(maxsize=limits.STREAM_CACHE)
def split_stream(stream: str) -> tuple[str, str]:
    """(category, key) of a stream id, both checked."""
    category, dash, key = stream.partition("-") if isinstance(stream, str) else ("", "", "")
    if not dash:
        raise Invalid(f"bad stream {_shown(stream)}: write category-key")
    return check_category(category), check_text("stream key", key, limits.KEY_BYTES)


def check_tenant(tenant: str) -> str:
    """A tenant's name, or `""` for the only one."""
    if tenant == "":
        return tenant
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant) or len(tenant) > limits.TENANT_CHARS:
        raise Invalid(f"bad tenant {_shown(tenant)}: write a-z, 0-9, _ or -, at most {limits.TENANT_CHARS}")
    return tenant


def check_name(name: str) -> str:
    """The stored name of an event or command."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > limits.NAME_CHARS:
        raise Invalid(
            f"bad stored name {_shown(name)}: write a letter, then letters, digits or . _ / : -, "
            f"at most {limits.NAME_CHARS}"
        )
    return name


def check_part(name: str) -> str:
    """The name of a projection, handler or index."""
    if not isinstance(name, str) or not _PART.fullmatch(name) or len(name) > limits.PART_CHARS:
        raise Invalid(f"bad name {_shown(name)}: write a-z first, then a-z, 0-9, _ or -, at most {limits.PART_CHARS}")
    return name


def check_version(version: int) -> int:
    """An expected version: `ANY`, `EXISTS`, `NONE` or a number of 64 bits."""
    if type(version) is not int or not EXISTS <= version < 2**63:
        raise Invalid(f"bad expected version {_shown(version)}: write ANY, EXISTS, NONE or a number from 0")
    return version


def check_limit(limit: int, most: int) -> int:
    """A number of things to return, from 1 to `most`."""
    if type(limit) is not int or not 1 <= limit <= most:
        raise Invalid(f"bad limit {_shown(limit)}: write a whole number from 1 to {most}")
    return limit


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
