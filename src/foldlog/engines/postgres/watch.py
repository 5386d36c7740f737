"""Waking those who wait: at once for this process's commits, by NOTIFY and by polling for those of others.

A commit is told to other processes after it was answered, on another connection: NOTIFY takes a lock of the whole
database until its transaction ends, which inside an append would make appends wait for each other. A call that gets
lost costs the time to the next poll, never an event.

Whoever may connect to the database may NOTIFY, on any channel. So a call is a hint and nothing more: that it is worth
looking. What it says is never taken for what is stored.
"""

import asyncio
import logging
from contextlib import suppress
from functools import partial

import psycopg

from foldlog import limits
from foldlog.engines.postgres.address import Address
from foldlog.engines.postgres.pool import Pool
from foldlog.engines.postgres.safe_head import SafeHead
from foldlog.engines.postgres.session import Connection, connect, fetch
from foldlog.errors import FoldlogError

log = logging.getLogger("foldlog.postgres")
_SLOWER = 1.25  # each look that finds nothing makes the next pause longer by this
_ROWS = "rows"  # a call that says so tells of rows alone: who waits for events need not look


class Watch:
    """Who waits for the head to rise, and what makes it known. `me` names this process in its calls."""

    def __init__(self, address: Address, head: SafeHead, pool: Pool, me: str) -> None:
        self._address, self._head, self._pool, self._me = address, head, pool, me
        self._channel = f"foldlog_{address.schema}"
        self._calls = f"SELECT pg_notify($1, $2), EXISTS (SELECT FROM {address.schema}.writers WHERE id <> $3)"
        self._waiting: dict[asyncio.Future[None], int | None] = {}
        self._stir, self._rung = asyncio.Event(), asyncio.Event()
        self._appended = False  # whether there were events in what is yet to be called out
        self._tasks: list[asyncio.Task[None]] = []
        self._told = (-1, 0)
        self._owed = False  # a look, to somebody who was told to look and comes back without having done it
        self._lost: Exception | None = None
        self._kept, self._commits = head.value, head.commits
        self._ended = False
        head.risen = self._risen

    def begin(self) -> None:
        self._tasks.append(asyncio.create_task(self._ring(), name="foldlog-ring"))

    async def wait(self, after: int | None, timeout: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._ended or (after is not None and (self._head.value > after or self._is_told(after))):
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
        self._appended = self._appended or bool(positions)
        self._rung.set()
        self._wake(behind=bool(positions) and self._head.value < positions[-1])

    async def end(self) -> None:
        """Wake everybody and stop."""
        self._ended = True
        self._wake(behind=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._tasks.clear()  # what they were making, a connection, goes with them
        with suppress(FoldlogError):  # who opens the store next looks a little further
            await self._keep()

    def _is_told(self, after: int) -> bool:
        """Whether there was a call that nobody has looked after yet. Each position is told of it once: whoever comes
        back has not looked, and is looked for."""
        if self._head.heard == self._head.looked:
            return False
        before, self._told = self._told, (after, self._head.heard)
        self._owed = self._owed or before == self._told
        return before != self._told

    def _wake(self, *, behind: bool) -> None:
        """Wake who waits for any commit and, if told, who waits for events."""
        for future, after in self._waiting.items():
            if (behind or after is None) and not future.done():
                future.set_result(None)

    def _risen(self) -> None:
        for future, after in self._waiting.items():
            if after is not None and self._head.value > after and not future.done():
                future.set_result(None)

    # ---------------------------------------------------------------- calling others

    async def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._rung.wait()
            self._rung.clear()
            said = self._me if self._appended else f"{self._me} {_ROWS}"
            self._appended = False
            began = loop.time()
            others = True
            try:
                others = await self._pool.run(partial(self._call, said))
            except FoldlogError as error:
                log.debug("nobody was called: %s", error.message)
            took = loop.time() - began
            # At least half of the time is the appends': on a busy server each call takes from them. Who opens the store
            # while this process is alone looks by itself as often as it is called then.
            await asyncio.sleep(max(limits.NOTIFY_GAP - took, took, 0) if others else limits.WATCH_HEARD)

    async def _call(self, said: str, conn: Connection) -> bool:
        """Call, and tell whether any other process has the store open."""
        ((_, others),) = await fetch(conn, self._calls, [self._channel, said, self._me])
        return bool(others)

    # ---------------------------------------------------------------- hearing others

    def _heard(self, said: str) -> None:
        who, _, what = said.partition(" ")
        if who != self._me:
            self._head.heard += what != _ROWS
            self._wake(behind=what != _ROWS)

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
            conn.add_notify_handler(lambda call: self._heard(call.payload))  # for those that come during a look
            await fetch(conn, f'LISTEN "{self._channel}"', once=True)
        await self._look(conn)  # what was called before nobody has heard
        loop = asyncio.get_running_loop()
        looked = saved = loop.time()
        pause = limits.WATCH_MIN
        while True:
            if self._address.proxied or self._head.hole is not None:
                # Nobody calls out when a transaction that left a hole is rolled back.
                pause = limits.WATCH_MIN if pause > limits.WATCH_MAX else pause
            else:
                pause = limits.WATCH_HEARD
            left = looked + pause - loop.time()
            if not self._waiting or (left > 0 and not self._owed):
                await self._pause(conn, left if self._waiting else None)
                continue
            self._owed = False
            pause = limits.WATCH_MIN if await self._look(conn) else min(pause * _SLOWER, limits.WATCH_MAX)
            looked = loop.time()
            if looked - saved > limits.HEAD_KEPT:
                saved = looked
                await self._keep()

    async def _look(self, conn: Connection) -> bool:
        """Whether anything has changed since the last time; those whom it concerns are woken."""
        value, commits = self._head.value, self._commits
        await self._head.look(conn)
        self._commits = self._head.commits  # it may have risen before: readers look as well, and wake nobody
        if self._commits != commits:
            self._wake(behind=False)
        return self._commits != commits or self._head.value > value

    async def _pause(self, conn: Connection, seconds: float | None) -> None:
        """Until the time is over, or somebody begins to wait. Calls are heard meanwhile. Errors: a lost connection."""
        loop = asyncio.get_running_loop()
        loop.add_reader(conn.fileno(), self._hear, conn)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stir.wait()
        finally:
            loop.remove_reader(conn.fileno())
        self._stir.clear()
        lost, self._lost = self._lost, None
        if lost is not None:
            raise lost

    def _hear(self, conn: Connection) -> None:
        try:
            conn.pgconn.consume_input()
        except psycopg.Error as error:
            self._lost = error
            self._stir.set()
        while call := conn.pgconn.notifies():
            self._heard(call.extra.decode(errors="replace"))

    async def _keep(self) -> None:
        """Store the safe head, for those who open the store next."""
        value = self._head.value
        if value > self._kept:
            update = f"UPDATE {self._address.schema}.log SET head = greatest(head, $1)"
            await self._pool.run(lambda conn: fetch(conn, update, [value]))
            self._kept = value
