"""The connections that read: a few, made when they are needed, lent one at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from foldlog import limits
from foldlog.engines.postgres.address import Address
from foldlog.engines.postgres.faults import said
from foldlog.engines.postgres.session import Connection, connect
from foldlog.errors import Unavailable


class Pool:
    """Lends connections. One whose server has gone is thrown away, and the next one made anew."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(limits.CONNECTIONS)
        self._waiting = 0
        self._ended = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """A connection outside of any transaction. Errors inside become those of faults.py."""
        if self._waiting >= limits.READER_QUEUE:
            raise Unavailable(f"{limits.READER_QUEUE} reads of {self._address.shown} wait", retry_after=0.1)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            if self._ended:
                raise Unavailable("the store is closed")
            conn = self._idle.pop() if self._idle else await connect(self._address)
            try:
                yield conn
            except Exception as error:
                raise said(error, self._address.shown) from error
            finally:
                await self._give_back(conn)
        finally:
            self._free.release()

    async def _give_back(self, conn: Connection) -> None:
        idle = conn.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if conn.closed or self._ended or not idle:
            await conn.close()
        else:
            self._idle.append(conn)

    async def end(self) -> None:
        """Refuse new readers, wait for those under way, let go of the connections."""
        self._ended = True
        for _ in range(limits.CONNECTIONS):
            await self._free.acquire()
        for conn in self._idle:
            await conn.close()
        self._idle.clear()
        for _ in range(limits.CONNECTIONS):
            self._free.release()
