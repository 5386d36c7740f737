"""URL scheme to engine: the only place that imports by name. A missing driver says which extra to install."""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from foldlog.errors import Misconfigured
from foldlog.model.message import KindFactory
from foldlog.ports.store import Store

_ENGINES: dict[str, tuple[str, str, str]] = {
    "memory": ("foldlog.engines.memory", "", "foldlog"),
    "sqlite": ("foldlog.engines.sqlite", "apsw", "foldlog"),
}


def connect(url: str, kinds: KindFactory, now: Callable[[], int]) -> Store:
    """The store behind a URL, not yet open.

    `memory:` one that ends with the process; `sqlite:path/to/file.db` (relative), `sqlite:/path/to/file.db`. The option
    `?start=n` lets a new log begin behind position n. Errors: `Misconfigured` for an unknown scheme, a missing path, an
    unknown option or a missing driver.
    """
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in _ENGINES:
        known = ", ".join(f"{name}:" for name in _ENGINES)
        raise Misconfigured(f"{_without_password(url)!r} names no store: a URL starts with one of {known}")
    parts = urlsplit(url)
    path = unquote(parts.path) if not parts.netloc else ""
    options = _options(parts.query)
    if scheme == "memory":
        if path or parts.netloc:
            raise Misconfigured("memory: takes no path")
        return _engine(scheme).MemoryStore(kinds, now=now, **options)
    if parts.netloc or not path.strip("/"):
        raise Misconfigured(f"{url!r} names no file: write sqlite:bank.db, or sqlite:/var/lib/bank.db")
    return _engine(scheme).SqliteStore(path, kinds, now=now, **options)


def load(module: str) -> Any:
    """A user's module, imported by name; for the command line."""
    return import_module(module)


def _engine(scheme: str) -> Any:
    module, driver, extra = _ENGINES[scheme]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != driver:
            raise
        raise Misconfigured(f"{scheme}: needs the driver {driver}: pip install '{extra}'") from error


def _options(query: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "start" or not value.isdecimal() or int(value) >= 2**62:
            raise Misconfigured(f"unknown option {name}={value!r}: a store's URL takes start=<position>")
        found[name] = int(value)
    return found


def _without_password(url: str) -> str:
    before, at, after = url.rpartition("@")
    return f"...@{after}" if at and ":" in before else url
