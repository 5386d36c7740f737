"""The database file: made, recognised and opened. Every page carries a checksum, verified whenever it is read."""

import os
import re
import secrets
import threading
import time
from contextlib import closing
from pathlib import Path

import apsw

from foldlog import limits
from foldlog.engines.sqlite import wal
from foldlog.engines.sqlite.wal import CHECKPOINT_PAGES, wait_for_locks
from foldlog.errors import Corrupt, Misconfigured, Unavailable
from foldlog.ports.store import Identity

APPLICATION = 0x464F4C44  # "FOLD" in the file's header
SCHEMA = 1
_VFS = "cksmvfs"
# Found beside the module, because `apsw.sqlite_extra` finds it by importlib.resources, a quarter of a cold start.
# SQLite itself appends the platform's ending.
_EXTENSION = Path(apsw.__file__).parent / "sqlite_extra_binaries" / "cksumvfs"
_CHECKSUM_BYTES = 8  # of each page, in its reserved tail
_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_CURE = "install apsw's own wheel, pip install --force-reinstall apsw"
_STATEMENTS = [
    statement
    for statement in re.split(r"\n\n", re.sub(r"--.*\n", "", Path(__file__).with_name("schema.sql").read_text("utf-8")))
    if statement.strip()
]
# Closing a file lets go of all locks that the process holds on it (POSIX), so nobody in this process may open a
# connection while the file is being made by hand.
_making = threading.Lock()


def open_file(path: str) -> tuple[apsw.Connection, Identity]:
    """A writer's connection to the database, which is made if it is not there, and the log's identity.

    Errors: `Misconfigured` where the path, its permissions, its content or its schema's version are wrong; `Corrupt`,
    `Unavailable`.
    """
    load_checksums()
    if Path(path).is_dir():  # SQLite would tell of a disk I/O error
        raise Misconfigured(f"{path} is a folder: name a file in it, like sqlite:{Path(path, 'bank.db')}")
    try:
        with _making:
            _make_file(path)
            _recognise(path)
            conn = connect(path)
        try:
            return conn, _prepare(conn, path)
        except BaseException:
            conn.close()
            raise
    except (apsw.CantOpenError, apsw.ReadOnlyError, OSError) as error:
        raise Misconfigured(
            f"cannot write {path} ({error}): its directory must exist, and both must be writable for this user"
        ) from error


def connect(path: str, *, readonly: bool = False) -> apsw.Connection:
    """A connection with Foldlog's settings to a file that is there."""
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE
    conn = apsw.Connection(path, flags=flags | apsw.SQLITE_OPEN_NOMUTEX, vfs=_VFS, statementcachesize=256)
    wait_for_locks(conn, limits.BUSY_TIMEOUT)
    try:
        _set(conn, "trusted_schema", "OFF")  # what a schema says runs nothing but plain SQL
        _set(conn, "synchronous", "FULL")  # a commit returns after the fsync
        _set(conn, "cache_size", -8_192 if readonly else -16_384)  # KiB
        if readonly:
            _set(conn, "query_only", "ON")
        else:
            _set(conn, "wal_autocheckpoint", CHECKPOINT_PAGES)
            _set(conn, "journal_size_limit", wal.KEPT)
    except BaseException:
        conn.close()
        raise
    return conn


def _set(conn: apsw.Connection, name: str, value: object) -> object:
    return conn.execute(f"PRAGMA {name} = {value}").get


def load_checksums() -> None:
    """Register the checksum VFS, once a process."""
    if _VFS in apsw.vfs_names():
        return
    try:
        with closing(apsw.Connection(":memory:")) as conn:
            conn.enable_load_extension(True)
            conn.load_extension(str(_EXTENSION))
    except (apsw.Error, AttributeError) as error:
        raise Misconfigured(f"SQLite's checksum extension is missing ({error}): {_CURE}") from error
    if not hasattr(apsw, "carray"):
        raise Misconfigured(f"SQLite's carray extension is missing: {_CURE}")


def _make_file(path: str) -> None:
    """An empty file that only its owner may read, whatever the umask; SQLite gives its -wal and -shm the same mode."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
    # The file's name shall outlive a power cut too.
    directory = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _recognise(path: str) -> None:
    """Ours, empty, or an error. Read through SQLite's VFS, which knows about locks."""
    flags = [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0]
    file = apsw.VFSFile("", path, flags)
    try:
        size = file.xFileSize()
        header = bytes(file.xRead(min(size, _HEADER), 0)) if size else b""
    except apsw.IOError as error:
        raise Misconfigured(f"{path} is not a Foldlog database: {error}") from error
    finally:
        file.xClose()
    if not size:
        return
    ours = header[68:72] == APPLICATION.to_bytes(4, "big")
    sound = header[:16] == _MAGIC and header[20:21] == bytes([_CHECKSUM_BYTES])
    if len(header) < _HEADER and header[:16] == _MAGIC[: len(header[:16])]:
        raise Corrupt(f"{path} was cut to {size} bytes; restore a backup")
    if not sound and ours:
        raise Corrupt(f"the first page of {path} is damaged; restore a backup")
    if not sound:
        raise Misconfigured(f"{path} is not a Foldlog database")
    # A page that is only partly there is checked by nobody. With a WAL it may be a power cut's, and be written again.
    page = int.from_bytes(header[16:18], "big") or 1
    wal = Path(f"{path}-wal")
    if size % page and not (wal.exists() and wal.stat().st_size):
        raise Corrupt(f"{path} was cut inside a page, to {size} bytes; restore a backup")


def _prepare(conn: apsw.Connection, path: str) -> Identity:
    """The schema, made or checked, and WAL mode, while other processes may be doing the same."""
    if conn.readonly("main"):  # SQLite opens what it may not write, and would say so at the first commit
        raise apsw.ReadOnlyError("the file may only be read")
    deadline = time.monotonic() + limits.BUSY_TIMEOUT
    while True:
        try:
            if not conn.execute("PRAGMA application_id").get:
                create(conn)
            if conn.execute("PRAGMA application_id").get != APPLICATION:
                raise Misconfigured(f"{path} is not a Foldlog database")
            if conn.execute("PRAGMA journal_mode").get != "wal":
                _set(conn, "journal_mode", "WAL")
            break
        except apsw.BusyError as error:
            # SQLite does not wait for every lock that a new file and the change to WAL need.
            if time.monotonic() > deadline:
                raise Unavailable(f"{path} is locked by another process") from error
            time.sleep(limits.WATCH_MIN)
    version = conn.execute("PRAGMA user_version").get
    if version != SCHEMA:
        raise Misconfigured(f"{path} has schema {version}, this code knows {SCHEMA}: upgrade foldlog")
    log, epoch = conn.execute("SELECT id, epoch FROM log").get
    return Identity(log, epoch)


def create(conn: apsw.Connection) -> None:
    """The schema and a new identity, in a file that is empty."""
    conn.reserve_bytes(reserve=_CHECKSUM_BYTES)
    conn.execute("BEGIN EXCLUSIVE").get
    try:
        if conn.execute("SELECT count(*) FROM sqlite_schema").get == 0:
            for statement in _STATEMENTS:
                conn.execute(statement).get
            conn.execute("INSERT INTO log VALUES (1, ?, 1)", (secrets.token_hex(16),)).get
            _set(conn, "application_id", APPLICATION)
            _set(conn, "user_version", SCHEMA)
        conn.execute("COMMIT").get
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK").get
        raise
