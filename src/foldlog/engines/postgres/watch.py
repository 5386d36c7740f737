"""Waking those who wait: at once for this process's commits, by NOTIFY and by polling for those of others.

A commit is told to other processes after it was answered, on another connection: NOTIFY takes a lock of the whole
database until its transaction ends, which inside an append would make appends wait for each other. A call that gets
lost costs the time to the next poll, never an event."""

import asyncio
import logging
from contextlib import suppress

import psycopg

from foldlog import limits
from foldlog.engines.postgres.address import Address
from foldlog.engines.postgres.pool import Pool
from foldlog.engines.postgres.safe_head import SafeHead
from foldlog.engines.postgres.session import Connection, connect, fetch
from foldlog.errors import FoldlogError

log = logging.getLogger("foldlog.postgres")
_SLOWER = 1.25  # each look that finds nothing makes the next pause longer by this


class Watch:
    """Who waits for the head to rise, and what makes it known. `me` names this process in its calls."""

    def __init__(self, address: Address, head: SafeHead, pool: Pool, me: str) -> None:
        self._address, self._head, self._pool, self._me = address, head, pool, me
        self._channel = f"foldlog_{address.schema}"
        self._waiting: dict[asyncio.Future[None], int | None] = {}
        self._stir, self._rung = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

        self._kept = head.value
        self._ended = False

    def begin(self) -> None:
        self._tasks.append(asyncio.create_task(self._ring(), name="foldlog-ring"))

    async def wait(self, after: int | None, timeout: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._ended or (after is not None and self._head.value > after):
            return
        self._waiting[future] = after
        if len(self._tasks) == 1:
            self._tasks.append(asyncio.create_task(self._run(), name="foldlog-watch"))
        self._stir.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await future
        finally:
            del self._waiting[future]

    def committed(self, positions: list[int]) -> None:
        """This process has committed; wake those who wait here, and have the others called."""
        self._head.committed(positions)
        self._rung.set()
        if self._waiting:
            self._wake(committed=True)
            self._stir.set()

    async def end(self) -> None:
        """Wake everybody and stop."""
        self._ended = True
        self._wake(committed=True, ended=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._tasks.clear()  # what they were making, a connection, goes with them
        with suppress(FoldlogError):  # who opens the store next looks a little further
            await self._keep()

    def _wake(self, *, committed: bool, ended: bool = False) -> None:
        for future, after in self._waiting.items():
            over = committed if after is None else self._head.value > after
            if (over or ended) and not future.done():
                future.set_result(None)

    # ---------------------------------------------------------------- calling others

    async def _ring(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            try:
                await self._pool.run(self._call)
            except FoldlogError as error:
                log.debug("nobody was called: %s", error.message)
            await asyncio.sleep(limits.NOTIFY_GAP)

    async def _call(self, conn: Connection) -> None:
        await fetch(conn, "SELECT pg_notify($1, $2)", [self._channel, self._me])

    # ---------------------------------------------------------------- hearing others

    async def _run(self) -> None:
        while True:
            try:
                conn = await connect(self._address)
                try:
                    await self._watch(conn)
                finally:
                    await conn.close()
            except (FoldlogError, psycopg.Error, OSError) as error:
                # Who reads next is told; here it only means to look again.
                log.debug("the watch begins anew: %s", error)

                await asyncio.sleep(limits.WATCH_AGAIN)

    async def _watch(self, conn: Connection) -> None:
        if not self._address.proxied:
            await fetch(conn, f'LISTEN "{self._channel}"', once=True)
        longest = limits.WATCH_MAX if self._address.proxied else limits.WATCH_HEARD
        pause = limits.WATCH_MIN

        saved = asyncio.get_running_loop().time()
        while True:
            if self._waiting:
                value, commits = self._head.value, self._head.commits
                await self._head.look(conn)
                if self._head.commits != commits or self._head.value > value:
                    pause = limits.WATCH_MIN
                    self._wake(committed=self._head.commits != commits)
                now = asyncio.get_running_loop().time()
                if now - saved > limits.HEAD_KEPT:
                    saved = now
                    await self._keep()
            most = limits.WATCH_MAX if self._head.hole else longest
            pause = min(pause * _SLOWER, most)
            if await self._pause(conn, pause if self._waiting else None):
                pause = limits.WATCH_MIN

    async def _pause(self, conn: Connection, seconds: float | None) -> bool:
        """Until another process calls, somebody begins to wait, or the time is over; whether there was a call."""
        loop = asyncio.get_running_loop()
        loop.add_reader(conn.fileno(), self._stir.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stir.wait()
        finally:
            loop.remove_reader(conn.fileno())
        self._stir.clear()
        called = False
        conn.pgconn.consume_input()
        while call := conn.pgconn.notifies():
            called = called or call.extra != self._me.encode()
        return called

    async def _keep(self) -> None:
        """Store the safe head, for those who open the store next."""
        value = self._head.value
        if value > self._kept:
            update = f"UPDATE {self._address.schema}.log SET head = greatest(head, $1)"
            await self._pool.run(lambda conn: fetch(conn, update, [value]))
            self._kept = value
