"""The write-ahead log's file: room made ahead of commits, checkpoints after them, and its length kept in bounds."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import apsw

from foldlog import limits

CHECKPOINT_PAGES = 4_000
"""WAL pages between two checkpoints: a tenth more commits a second than with 1,000; 16,000 were no faster, and a WAL of
16 MB is little to recover and to search. They never wait for readers, so alone they cannot begin the WAL anew while
reads overlap; see `KEPT`."""
KEPT = 67_108_864  # a WAL that a huge commit or overlapping reads made longer than this is cut to nothing
_ROOM = 131_072  # bytes of zeros written ahead of the WAL's end at a time; more makes that commit wait for them
_FRAME = 24 + 4_096  # a page and its header
_LEAST = 32  # frames of room that shall be there before a commit
_LOCK_WAIT = 0.02  # seconds a cut waits for each lock of other processes' readers
_LOOK = 0.25  # seconds between two looks at the WAL's length …
_DRAIN = 0.08  # … and the most that commits then wait for reads under way


class Wal:
    """The WAL as the writer's connection keeps it.

    A commit that makes the file longer waits for the file system's own journal too, about as long again as for its
    data; one that writes into zeros which are there already does not. So zeros are written ahead, under the write lock,
    which keeps everybody else from writing behind the end. SQLite takes them for what they are: frames that are not
    valid.
    """

    def __init__(self, path: str, conn: apsw.Connection) -> None:
        self._path, self._conn = f"{path}-wal", conn
        self._pages = self._size = 0
        self._next_look = 0.0
        self._makes_room = True
        conn.set_wal_hook(self._committed)

    def _committed(self, _conn: apsw.Connection, _name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def make_room(self) -> None:
        """Inside a transaction that holds the write lock: room for its frames, where a WAL is there already."""
        end = (self._pages + _LEAST) * _FRAME
        if not self._pages or end <= self._size or self._pages > CHECKPOINT_PAGES or not self._makes_room:
            return
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                self._size = os.fstat(handle).st_size
                if end > self._size:
                    self._size += os.pwrite(handle, bytes(_ROOM), self._size)
            finally:
                os.close(handle)
        except OSError:  # a full or failing disk: the commit itself will tell
            self._makes_room = False

    def checkpoint(self, held: Callable[[float], AbstractContextManager[bool]]) -> None:
        """After a commit was answered: move a long WAL into the file; cut one that became too long all the same.

        `held` holds reads back for a moment. Errors: apsw's, except that somebody else is reading.
        """
        if self._pages >= CHECKPOINT_PAGES:
            self._conn.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._makes_room = True
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK
        if not self._is_long():
            return
        with held(_DRAIN) as quiet:
            if not quiet:
                return
            try:
                self._cut()
            except apsw.BusyError:  # another process reads
                self._next_look = time.monotonic() + 4 * _LOOK

    def _is_long(self) -> bool:
        try:
            return Path(self._path).stat().st_size > KEPT
        except OSError:
            return False

    def _cut(self) -> None:
        wait_for_locks(self._conn, _LOCK_WAIT)
        try:
            self._conn.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._pages = self._size = 0
        finally:
            wait_for_locks(self._conn, limits.BUSY_TIMEOUT)


def wait_for_locks(conn: apsw.Connection, seconds: float) -> None:
    """Wait so long for locks of others before `BusyError`."""
    millis = int(seconds * 1000)
    conn.set_busy_timeout(millis)
    # Locks are then tried each millisecond inside the VFS, instead of after growing pauses of up to 100 ms.
    conn.setlk_timeout(millis, 0)
