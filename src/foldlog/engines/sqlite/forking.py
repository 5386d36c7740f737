"""A new file with another one's events up to a position: built beside its name, which it gets when it is whole.

What stands in the log is never changed, so the copy reads it piece by piece and holds nobody up. Until the last step
the new file is called `<name>.forking`; what a killed fork leaves there, the next one to the same name writes over.
"""

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from foldlog import limits
from foldlog.engines.sqlite.changes import Changes
from foldlog.engines.sqlite.faults import is_damage, said
from foldlog.engines.sqlite.files import create, load_checksums
from foldlog.errors import Invalid, Misconfigured, Unavailable
from foldlog.model.thread import in_thread
from foldlog.ports.store import Put

_PIECE = 100_000  # events of one statement: long enough to be fast, short enough to show progress and to stop
_CACHE = -16_384  # KiB of pages that the new file may keep in memory while it is built
_OPCODES = 100_000  # of SQLite's machine between two looks whether to stop

_STREAMS = (
    "INSERT INTO main.streams SELECT s.* FROM source.streams AS s WHERE EXISTS"
    " (SELECT 1 FROM source.by_stream WHERE stream = s.id AND version = 1 AND position <= :upto) OR EXISTS"
    " (SELECT 1 FROM source.by_stream_new WHERE stream = s.id AND version = 1 AND position <= :upto) ORDER BY s.id"
)
_KINDS = (
    "INSERT INTO main.kinds SELECT k.* FROM source.kinds AS k WHERE EXISTS"
    " (SELECT 1 FROM source.events AS e WHERE e.kind = k.id AND e.position <= ?) ORDER BY k.id"
)
_EVENTS = (
    "INSERT INTO main.events SELECT * FROM source.events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
)
_BY_STREAM = "INSERT INTO main.by_stream SELECT stream, version, position FROM main.events ORDER BY stream, version"
_BY_TAG = (
    "INSERT INTO main.by_tag SELECT * FROM source.by_tag WHERE position <= :upto UNION ALL"
    " SELECT * FROM source.by_tag_new WHERE position <= :upto ORDER BY tenant, tag, position"
)
_INDEXES = "SELECT name, sql FROM main.sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"


async def fork(path: str, new: str, upto: int, rows: Sequence[Put], told: Callable[[int], None]) -> str:
    """Make the file `new` with the events of `path` up to position `upto` and with `rows`; returns its log's id.

    `told` hears, in another thread, up to which position the copy has come. The new file is there, whole and on the
    disk, or not at all, also after a crash; a cancelled caller waits until nothing is left of it. Errors: `Invalid`
    where something stands under the new name already; `Misconfigured` where it cannot be written; `Unavailable` while
    another process forks to it or the disk is full; `Corrupt`.
    """
    stop = threading.Event()
    made: list[str] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            made.append(_fork(path, new, upto, rows, told, stop))
        except Exception as error:
            failed.append(error)

    building = asyncio.ensure_future(in_thread(work))
    try:
        await asyncio.shield(building)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([building])
        raise
    if failed:
        raise failed[0]
    return made[0]


def _fork(
    path: str, new: str, upto: int, rows: Sequence[Put], told: Callable[[int], None], stop: threading.Event
) -> str:
    load_checksums()
    new = str(Path(new).absolute())
    _check_free(new)
    try:
        with _building(f"{new}.forking") as handle:
            log = _build(f"{new}.forking", path, upto, rows, told, stop)
            os.fsync(handle)
            try:
                Path(new).hardlink_to(f"{new}.forking")  # unlike a rename, it never takes another file's place
            except FileExistsError as error:
                raise _taken(new) from error
        _sync_folder(new)
    except apsw.Error as error:
        raise said(error, path if is_damage(error) else new) from error
    except OSError as error:
        raise Misconfigured(
            f"cannot write {new} ({error}): its directory must exist, be writable for this user, and allow hard links"
        ) from error
    return log


def _check_free(new: str) -> None:
    # A log that SQLite finds beside a new file would be taken for its own.
    for name in (new, f"{new}-wal", f"{new}-journal"):
        if os.path.lexists(name):
            raise _taken(name)


def _taken(name: str) -> Invalid:
    return Invalid(f"{name} is there already: remove it, or fork to another name")


@contextmanager
def _building(name: str) -> Iterator[int]:
    """The unfinished file, empty and ours alone; its name is gone afterwards."""
    path = Path(name)
    # A fork that was killed after its last step has left its file under a second name: it must not be emptied.
    if path.exists() and path.stat().st_nlink > 1:
        path.unlink()
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"another process is forking to {name.removesuffix('.forking')}") from error
        if os.fstat(handle).st_nlink != 1:
            raise Unavailable(f"another process has just forked to {name.removesuffix('.forking')}")
        os.ftruncate(handle, 0)
        os.fchmod(handle, 0o600)
        try:
            yield handle
        finally:
            path.unlink()
    finally:
        os.close(handle)


def _build(
    name: str, path: str, upto: int, rows: Sequence[Put], told: Callable[[int], None], stop: threading.Event
) -> str:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
    with closing(apsw.Connection(name, flags=flags, vfs="cksmvfs")) as conn:
        conn.set_busy_timeout(int(limits.BUSY_TIMEOUT * 1000))
        create(conn)
        # A crash loses this file anyway, so nothing in it needs a journal; it is synced once, when it is whole.
        for setting, value in (("journal_mode", "OFF"), ("synchronous", "OFF"), ("cache_size", _CACHE)):
            conn.execute(f"PRAGMA main.{setting} = {value}").get
        conn.execute("ATTACH ? AS source", (f"{Path(path).absolute().as_uri()}?mode=ro",)).get
        conn.set_progress_handler(stop.is_set, _OPCODES)
        # Sorted once at the end, an index costs less than kept in order all along, and no random reads.
        indexes = list(conn.execute(_INDEXES))
        for index, _ in indexes:
            conn.execute(f"DROP INDEX main.{index}").get
        conn.execute(_KINDS, (upto,)).get
        conn.execute(_STREAMS, {"upto": upto}).get
        at = 0
        while at < upto:
            conn.execute(_EVENTS, (at, upto, _PIECE)).get
            if not conn.changes():
                break
            at = conn.execute("SELECT max(position) FROM main.events").get
            told(at)
        conn.execute(_BY_STREAM).get
        conn.execute(_BY_TAG, {"upto": upto}).get
        for _, statement in indexes:
            conn.execute(statement).get
        changes = Changes(conn)
        for row in rows:
            changes.change(row)
        changes.flush()
        log: str = conn.execute("SELECT id FROM main.log").get
        return log


def _sync_folder(path: str) -> None:
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
