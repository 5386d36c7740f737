"""URL scheme to engine: the only place that imports by name. A missing driver says which extra to install."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from foldlog.errors import Misconfigured
from foldlog.model.clock import SystemClock
from foldlog.model.finding import Examined, Finding
from foldlog.model.message import Kind, KindFactory
from foldlog.ports.store import Put, Store

_ENGINES: dict[str, tuple[str, str, str]] = {
    "memory": ("foldlog.engines.memory", "", "foldlog"),
    "sqlite": ("foldlog.engines.sqlite", "apsw", "foldlog"),
    "postgresql": ("foldlog.engines.postgres", "psycopg", "foldlog[postgres]"),
    "postgres": ("foldlog.engines.postgres", "psycopg", "foldlog[postgres]"),
}
_SERVERS = {"postgresql", "postgres"}
SCHEMES = tuple(_ENGINES)


def connect(url: str, kinds: KindFactory, now: Callable[[], int]) -> Store:
    """The store behind a URL, not yet open.

    `memory:` one that ends with the process; `sqlite:path/to/file.db` (relative), `sqlite:/path/to/file.db`;
    `postgresql://user@host:port/database?schema=name`, whose other options are libpq's. The option `?start=n` lets a
    new log begin behind position n. Errors: `Misconfigured` for an unknown scheme, a missing path, an unknown option
    or a missing driver."""
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in _ENGINES:
        known = ", ".join(f"{name}:" for name in SCHEMES)
        raise Misconfigured(f"{_without_password(url)!r} names no store: a URL starts with one of {known}")
    if scheme in _SERVERS:
        server: Store = _engine(scheme).PostgresStore(url, kinds, now=now)
        return server
    parts = urlsplit(url)
    path = unquote(parts.path) if not parts.netloc else ""
    options = _options(parts.query)
    if scheme == "memory":
        if path or parts.netloc:
            raise Misconfigured("memory: takes no path")
        memory: Store = _engine(scheme).MemoryStore(kinds, now=now, **options)
        return memory
    if parts.netloc or not path.strip("/"):
        raise Misconfigured(f"{url!r} names no file: write sqlite:bank.db, or sqlite:/var/lib/bank.db")
    sqlite: Store = _engine(scheme).SqliteStore(path, kinds, now=now, **options)
    return sqlite


@asynccontextmanager
async def scratch(*, large: bool) -> AsyncIterator[Store]:
    """An open store that is gone when it is left: in memory, or, a large one, in a file of the system's folder for
    temporary files, so that memory stays flat. Errors: `Unavailable` where that folder is full."""
    temporary = import_module("tempfile")  # takes milliseconds that few need
    with temporary.TemporaryDirectory(prefix="foldlog-") as folder:
        store = connect(f"sqlite:{quote(folder)}/rows.db" if large else "memory:", Kind, SystemClock().now)
        await store.open()
        try:
            yield store
        finally:
            await store.close()


def check_fork(url: str, new: str) -> None:
    """Whether one store can be forked into the other. Errors: `Misconfigured`."""
    for one in (url, new):
        connect(one, Kind, int)
    if {one.partition(":")[0] for one in (url, new)} != {"sqlite"}:
        raise Misconfigured(
            "only a file is forked, into a new file: sqlite:old.db to sqlite:new.db; between other stores use "
            "`foldlog export` and `import`, which keep events, streams and ids but not positions and times"
        )
    if urlsplit(new).query:
        raise Misconfigured(f"{new!r}: a fork goes on behind its last event; leave the options out")


async def fork(url: str, new: str, upto: int, rows: Sequence[Put], told: Callable[[int], None]) -> str:
    """A new store at `new` with the events of the one at `url` up to a position, and with `rows`; its log's id.

    It is there as a whole or not at all. `told` hears, in another thread, how far it came. Errors: `Invalid` where
    something is at `new` already; those of `check_fork`; `Unavailable`, `Corrupt`.
    """
    check_fork(url, new)
    log: str = await _engine("sqlite").fork(_path(url), _path(new), upto, rows, told)
    return log


async def examine(url: str, *, deep: bool) -> Examined:
    """What the engine finds when it looks at a store from below; `deep` reads all of it. Nothing is changed."""
    engine = _engine(url.partition(":")[0])
    if not hasattr(engine, "examine"):
        return Examined([Finding("store", "ok", f"{url} keeps nothing beyond its process: nothing to look at")])
    where = url if url.partition(":")[0] in _SERVERS else _path(url)
    found: Examined = await engine.examine(where, deep=deep)
    return found


def is_url(text: str) -> bool:
    """Whether this can only be meant as a store's URL, and not as a module or file."""
    return text.startswith(tuple(f"{name}:" for name in SCHEMES)) or "://" in text


async def absent(url: str) -> str:
    """The place that a URL names, where no log is there yet, else ""; so that a reader with a typo makes no new one.

    Errors, of a server: `Misconfigured`, `Unavailable`."""
    scheme, _, _ = url.partition(":")
    if scheme in _SERVERS:
        shown: str = await _engine(scheme).absent(url)
        return shown
    path = _path(url)
    return _absent_file(path) if scheme == "sqlite" and path else ""


def _absent_file(path: str) -> str:
    file = Path(path)
    if not file.exists():
        return path
    return f"{path}, the file is empty" if file.is_file() and not file.stat().st_size else ""


def load(module: str) -> Any:
    """A user's module, imported by name, from the current folder too; for the command line."""
    _look_in(Path.cwd())
    return import_module(module)


def load_file(path: Path) -> Any:
    """A user's module, loaded from its file. Inside a package (the folders above with an `__init__.py`) it is imported
    as a part of it; elsewhere its neighbours can be imported, as when Python runs the file."""
    path = path.resolve()
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _look_in(folder)
    if folder != path.parent and all(part.isidentifier() for part in parts):
        return _part_of_package(path, ".".join(parts))
    # The file's own name, so that a neighbour that imports it gets this module and not a second one.
    name = path.stem if path.stem not in sys.modules and path.stem.isidentifier() else f"foldlog_app_{len(sys.modules)}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Misconfigured(f"{path} is no Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _part_of_package(path: Path, name: str) -> Any:
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise _hidden(path, name) from error
    if Path(module.__file__ or "").resolve() != path:
        raise _hidden(path, name)
    return module


def _hidden(path: Path, name: str) -> Misconfigured:
    return Misconfigured(
        f"{path} is {name} by its folders; Python finds another {name.partition('.')[0]!r} first: rename the package"
    )


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


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


def _path(url: str) -> str:
    return unquote(urlsplit(url).path)


def _without_password(url: str) -> str:
    before, at, after = url.rpartition("@")
    return f"...@{after}" if at and ":" in before else url
