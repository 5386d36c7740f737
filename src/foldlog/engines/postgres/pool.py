"""The connections that read: a few, made when they are needed, lent one at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg

from foldlog import limits
from foldlog.engines.postgres.address import Address
from foldlog.engines.postgres.faults import is_lost, said
from foldlog.engines.postgres.session import Connection, connect
from foldlog.errors import Unavailable

T = TypeVar("T")


class Pool:
    """Lends connections. One whose server has gone is thrown away, and the next one made anew."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(limits.CONNECTIONS)
        self._waiting = 0
        self._ended = False

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns. It only reads, so that after a lost connection it is done again on a new one. Errors:
        those of faults.py."""
        if self._waiting >= limits.READER_QUEUE:
            raise Unavailable(f"{limits.READER_QUEUE} reads of {self._address.shown} wait", retry_after=0.1)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        if self._ended:
            self._free.release()
            raise Unavailable("the store is closed")
        try:
            if self._idle:
                try:
                    return await self._with(self._idle.pop(), work)
                except psycopg.Error as error:
                    if not is_lost(error):
                        raise
            return await self._with(await connect(self._address), work)
        except Exception as error:
            raise said(error, self._address.shown) from error
        finally:
            self._free.release()

    async def _with(self, conn: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await work(conn)
        finally:
            idle = conn.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
            if self._ended or not idle:
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
