"""The store in PostgreSQL 15 or newer: any number of processes on any machines write and read at the same time.

address.py    what a URL says        session.py    connections, and arrays on their way into them        faults.py
schema.sql    the tables        schema.py    made, recognised, migrated
writer.py     the one writer of a process: groups of batches share a statement
group.py      … their arrays and answers        statement.py    … the SQL        guarded.py    … conditions by tags
conflicts.py  why a batch was refused        outcome.py    what became of a commit whose answer was lost
locks.py      numbers for advisory locks
safe_head.py  up to where the log can no longer change        watch.py    waking those who wait
pool.py       the connections that read
log.py        pages of events        matching.py   from a query to positions
tail.py       the newest events, kept for all who follow        loads.py      streams that are read together
rows.py       rows by key and in order                tables.py     the registry of tables
kinds.py      what events refer to by number          checkup.py    what is wrong with a store and its server
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Sequence

from foldlog import limits
from foldlog.engines.batch import check_batch, check_keys, check_range, check_read
from foldlog.engines.kinds import Kinds
from foldlog.engines.postgres import rows
from foldlog.engines.postgres.address import parse
from foldlog.engines.postgres.locks import Locks
from foldlog.engines.postgres.log import Log
from foldlog.engines.postgres.pool import Pool
from foldlog.engines.postgres.safe_head import SafeHead
from foldlog.engines.postgres.schema import absent, prepare
from foldlog.engines.postgres.session import connect
from foldlog.engines.postgres.tables import Tables
from foldlog.engines.postgres.watch import Watch
from foldlog.engines.postgres.writer import Writer
from foldlog.errors import Unavailable
from foldlog.lazy import on_first_use
from foldlog.model.message import Kind, KindFactory
from foldlog.model.query import Query
from foldlog.ports.store import Appended, Batch, Capabilities, Identity, Page, Range, Row, RowKey, Rows, Table

__all__ = ["PostgresStore", "absent"]


__getattr__, __dir__ = on_first_use(__name__, {"examine": "checkup"})  # the command line's


def _micros() -> int:
    return time.time_ns() // 1000


class PostgresStore:
    """A store in one schema of a PostgreSQL database. Used from one event loop; any number of processes share a schema.

    `url` is `postgresql://user@host:port/database?schema=name` (default schema: foldlog); `kinds` makes the Kind of
    each sort of event; `now` is the clock in microseconds since 1970, which may jump. A store does not survive a fork:
    open one in each process."""

    def __init__(self, url: str, kinds: KindFactory = Kind, *, now: Callable[[], int] = _micros) -> None:
        self.capabilities = Capabilities(tags=True, order=True, batch_streams=limits.BATCH_STREAMS, durable=True)
        self.identity = Identity("", 0)
        self._address = parse(url)
        self._make_kind, self._now = kinds, now
        self._process = 0  # the one that opened it; 0 while it is closed
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        async with self._opening:
            if self._process != os.getpid():
                await self._open()

    async def close(self) -> None:
        async with self._opening:
            if self._process == os.getpid():
                self._process = 0
                await self._writer.end()
                await self._watch.end()
                await self._pool.end()

    async def commit(self, batch: Batch) -> list[Appended]:
        self._check_open()
        return await self._writer.submit(batch, check_batch(batch)) or []

    async def read(self, query: Query, after: int = 0, limit: int = 1_000, *, backward: bool = False) -> Page:
        self._check_open()
        check_read(after, limit)
        return await self._log.read(query, after, limit, backward=backward)

    async def head(self) -> int:
        self._check_open()
        return await self._pool.run(self._head.look)

    async def wait(self, after: int | None, timeout: float) -> None:
        self._check_open()
        await self._watch.wait(after, timeout)

    async def get(self, table: Table, keys: Sequence[RowKey]) -> dict[RowKey, Row]:
        self._check_open()
        check_keys(table, keys)
        return await self._pool.run(lambda conn: rows.get(conn, self._tables, table, keys, self._now()))

    async def scan(self, table: Table, range: Range) -> Rows:
        self._check_open()
        check_range(table, range)
        return await self._pool.run(lambda conn: rows.scan(conn, self._tables, table, range, self._now()))

    async def drop(self, table: Table) -> None:
        self._check_open()
        await self._writer.submit(table, 0)

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise Unavailable("the store is closed, or was opened before this process was forked")

    async def _open(self) -> None:
        address, me = self._address, secrets.token_hex(8)
        locks = Locks(address.schema)
        conn = await connect(address, starting=True)
        try:
            self.identity, head = await prepare(conn, address, locks)
            kinds, tables = Kinds(self._make_kind), Tables(address.schema, locks)
            self._tables = tables
            self._head = SafeHead(address.schema, head)
            await self._head.look(conn)  # and the kinds of all that is below it: a page may end there unasked
            self._pool = Pool(address)
            self._log = Log(address.schema, self.identity.log, kinds, self._head, self._pool)
            self._watch = Watch(address, self._head, self._pool, me)
            self._writer = Writer(address, me, kinds, tables, locks, self._now, self._watch.committed)
            await self._writer.begin(conn)
        except BaseException:
            await conn.close()
            raise
        self._watch.begin()
        self._process = os.getpid()
