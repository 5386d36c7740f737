"""The store in one SQLite file: durable, several processes at once, one of them writing at a time.

files.py      the file: made, recognised, opened; checksums on every page        schema.sql
writer.py     the one writer: groups of batches share a transaction        wal.py
appends.py    … their events, merging.py their indexes        changes.py    … and their rows
readers.py    a few reading threads
log.py        pages of events                         matching.py   from a query to positions, by index
rows.py       rows by key and in order                tables.py     the registry of tables
kinds.py      what events refer to by number          watch.py      waking those who wait
faults.py     SQLite's errors in Foldlog's words        forks.py      which files must not be opened again
forking.py    a new file with another one's events    checkup.py    what is wrong with a file and its disk
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import apsw

from foldlog import limits
from foldlog.engines.batch import check_batch, check_keys, check_range, check_read
from foldlog.engines.sqlite import forks, rows
from foldlog.engines.sqlite.faults import said
from foldlog.engines.sqlite.files import connect, open_file
from foldlog.engines.sqlite.log import Log, head_of
from foldlog.engines.sqlite.readers import Readers
from foldlog.engines.sqlite.watch import Watch
from foldlog.engines.sqlite.writer import Loop, Results, Writer, settle
from foldlog.errors import Unavailable
from foldlog.lazy import on_first_use
from foldlog.model.message import Kind, KindFactory
from foldlog.model.query import Query
from foldlog.model.thread import in_thread
from foldlog.ports.store import Appended, Batch, Capabilities, Identity, Page, Range, Row, RowKey, Rows, Table

__all__ = ["SqliteStore"]
# Tools of the command line: loaded when it asks.
__getattr__, __dir__ = on_first_use(__name__, {"examine": "checkup", "fork": "forking"})

_FEW = 64  # events or rows that are read on the spot: less work than handing them to a thread


def _micros() -> int:
    return time.time_ns() // 1000


class SqliteStore:
    """A store in one file. Several event loops, stores and processes may use a file at once.

    `kinds` makes the Kind of each sort of event; `start` is the position before the first one, as in a log that was
    moved; `now` is the clock in microseconds since 1970, which may jump: what is recorded never goes back. A store
    does not survive a fork: open one in each process.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kinds: KindFactory = Kind,
        *,
        start: int = 0,
        now: Callable[[], int] = _micros,
    ) -> None:
        self.capabilities = Capabilities(tags=True, order=True, batch_streams=limits.BATCH_STREAMS, durable=True)
        self.identity = Identity("", 0)
        self._path = str(Path(path))
        self._kinds, self._start, self._now = kinds, start, now
        self._process = 0  # the one that opened it; 0 while it is closed
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        async with self._opening:
            if self._process != os.getpid():
                await in_thread(self._open)

    async def close(self) -> None:
        async with self._opening:
            if self._process == os.getpid():
                self._process = 0
                await in_thread(self._close)

    async def commit(self, batch: Batch) -> list[Appended]:
        self._check_open()
        return await self._writer.submit(batch, check_batch(batch)) or []

    async def read(self, query: Query, after: int = 0, limit: int = 1_000, *, backward: bool = False) -> Page:
        self._check_open()
        check_read(after, limit)
        most = min(limit, _FEW)
        if self._is_short(query, after, limit):
            page = await self._readers.here(lambda conn: self._log.read(conn, query, after, most, backward=backward))
            if not page.more or limit == most:
                return page
        return await self._readers.run(lambda conn: self._log.read(conn, query, after, limit, backward=backward))

    async def head(self) -> int:
        self._check_open()
        return await self._readers.here(head_of)

    async def wait(self, after: int | None, timeout: float) -> None:
        self._check_open()
        await self._watch.wait(after, timeout)

    async def get(self, table: Table, keys: Sequence[RowKey]) -> dict[RowKey, Row]:
        self._check_open()
        check_keys(table, keys)
        read = self._readers.here if len(keys) <= _FEW else self._readers.run
        return await read(lambda conn: rows.get(conn, table, keys, self._now()))

    async def scan(self, table: Table, range: Range) -> Rows:
        self._check_open()
        check_range(table, range)
        return await self._readers.run(lambda conn: rows.scan(conn, table, range, self._now()))

    async def drop(self, table: Table) -> None:
        self._check_open()
        await self._writer.submit(table, 0)

    def _is_short(self, query: Query, after: int, limit: int) -> bool:
        """Whether few events can match: what has just come, or a few of one stream."""
        if query.tags or query.any_of or query.since or query.until:
            return False
        if query.stream is not None:
            return limit <= _FEW or after > 0
        return self._watch.head - after <= _FEW

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise Unavailable("the store is closed, or was opened before this process was forked")

    def _open(self) -> None:
        forks.check(self._path)
        try:
            conn, self.identity = open_file(self._path)
        except apsw.Error as error:
            raise said(error, self._path) from error
        reader = partial(connect, self._path, readonly=True)
        self._log = Log(self._kinds, self.identity.log)
        self._readers = Readers(self._path, reader, limits.READERS)
        self._readers.begin()
        self._watch = Watch(reader)
        self._writer = Writer(
            self._path, partial(connect, self._path), self._now, self._start, self._deliver, self._readers.held
        )
        self._writer.begin(conn)
        self._process = os.getpid()
        forks.opened(self._path, self)

    def _close(self) -> None:
        self._writer.end()
        self._watch.end()
        self._readers.end()
        self._writer.close()  # last, because only a connection that may write removes the WAL
        forks.closed(self._path, self)

    def _deliver(self, head: int, answers: dict[Loop, Results]) -> None:
        """Called by the writer: one call a loop gives all its answers and wakes all who wait there."""
        for loop in {*answers, *self._watch.committed(head)}:
            try:
                loop.call_soon_threadsafe(self._answer, loop, answers.get(loop, []))
            except RuntimeError:  # the loop is closed; nobody asks there any more
                continue

    def _answer(self, loop: Loop, results: Results) -> None:
        settle(results)
        self._watch.wake(loop)
