"""The one writer of a process: a queue whose batches share statements (group commit), over one connection.

Batches of a group touch different streams and rows, so that one batch's conflict never touches its neighbours: a batch
whose streams have moved on stays out of the statement by itself, and where a row's condition fails the group is halved
until the batch stands alone. What stands twice in the queue waits for the next group, in its order.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg

from foldlog import limits
from foldlog.engines.kinds import Kinds
from foldlog.engines.postgres import guarded, outcome
from foldlog.engines.postgres.address import Address
from foldlog.engines.postgres.conflicts import reason
from foldlog.engines.postgres.faults import Unheld, is_lost, is_passing, is_refusal, is_stale, said
from foldlog.engines.postgres.group import Done, Fenced, Group, wants_absence
from foldlog.engines.postgres.kinds import ensure
from foldlog.engines.postgres.locks import Locks
from foldlog.engines.postgres.session import Connection, connect, fetch, is_gone
from foldlog.engines.postgres.tables import Stored, Tables
from foldlog.errors import FoldlogError, Unavailable
from foldlog.ports.store import Appended, Batch, Put, Table

log = logging.getLogger("foldlog.postgres")
Answer = list[Appended] | None
_FEW = 64  # a batch with more streams or rows has its own group: it fills a statement by itself
_PURGE = 2  # expired rows removed for each row put, so that a table shrinks again, a little at a time


class Job(NamedTuple):
    work: Batch | Table  # a table is dropped
    future: asyncio.Future[Answer]
    size: int
    keys: frozenset[Any]  # what no other batch of its group may touch; empty: it wants a group of its own


class Writer:
    """Owns the connection that writes. `committed` gets the positions after each commit."""

    def __init__(
        self,
        address: Address,
        me: str,
        kinds: Kinds,
        tables: Tables,
        locks: Locks,
        now: Callable[[], int],
        committed: Callable[[list[int]], None],
    ) -> None:
        self._address, self._me, self._kinds, self._tables, self._locks = address, me, kinds, tables, locks
        self._schema = address.schema
        self._now, self._committed = now, committed
        self._queue: deque[Job] = deque()
        self._bytes = 0  # that wait
        self._stir = asyncio.Event()
        self._seq = 0  # of the last commit that was begun
        self._doubt: int | None = None  # a commit of which nobody knows whether it stands
        self._expiring: defaultdict[Stored, int] = defaultdict(int)  # rows put since the last purge
        self._conn: Connection | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    async def begin(self, conn: Connection) -> None:
        await outcome.register(conn, self._schema, self._me)
        self._conn = conn
        self._task = asyncio.create_task(self._run(), name="foldlog-writer")

    def submit(self, work: Batch | Table, size: int) -> asyncio.Future[Answer]:
        """Queue the work. Errors: `Unavailable` at once when the queue is full or nobody serves it any more."""
        if self._ended:
            raise Unavailable("the store is closed")
        shown = self._address.shown
        if len(self._queue) >= limits.WRITER_QUEUE:
            raise Unavailable(f"{limits.WRITER_QUEUE} batches wait to be written to {shown}", retry_after=0.1)
        if self._bytes + size > limits.WRITER_QUEUE_BYTES:
            raise Unavailable(f"{self._bytes} bytes wait to be written to {shown}", retry_after=0.1)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._bytes += size
        self._queue.append(Job(work, future, size, _keys(work)))
        self._stir.set()
        return future

    async def end(self) -> None:
        """Finish what was accepted, then let go of the connection."""
        self._ended = True
        self._stir.set()
        if self._task is not None:
            await asyncio.wait([self._task])  # whatever became of it
        if self._conn is not None:
            with suppress(psycopg.Error):
                await fetch(self._conn, f"DELETE FROM {self._schema}.writers WHERE id = $1", [self._me])
            await self._conn.close()
            self._conn = None

    async def _run(self) -> None:
        group: list[Job] = []
        try:
            while True:
                if not self._queue:
                    if self._ended:
                        return
                    self._stir.clear()
                    await self._stir.wait()
                    continue
                group = self._take()
                answers = await self._serve(group)
                for job, answer in zip(group, answers, strict=True):
                    _answer(job, answer)
                group = []
                await self._tidy()
        finally:
            self._ended = True
            for job in (*group, *self._queue):
                _answer(job, Unavailable("the writer has ended"))
            self._queue.clear()

    def _take(self) -> list[Job]:
        """The next jobs that share a statement: what waits, within the limits; what touches the same waits in its
        order."""
        group: list[Job] = []
        taken: set[Any] = set()
        later: deque[Job] = deque()
        size = 0
        while self._queue and len(group) < limits.WRITER_GROUP and size < limits.WRITER_GROUP_BYTES:
            job = self._queue.popleft()
            if not job.keys:
                if group or later:
                    later.append(job)
                    break
                group.append(job)
                size += job.size
                break
            if taken.isdisjoint(job.keys):
                group.append(job)
                size += job.size
            else:
                later.append(job)
            taken |= job.keys
        self._queue.extendleft(reversed(later))
        self._bytes -= size
        return group

    async def _serve(self, jobs: list[Job]) -> list[Answer | Exception]:
        work = jobs[0].work
        try:
            if isinstance(work, Table):
                await self._tables.drop(await self._connection(), work)
                self._committed([])
                return [None]
            return await self._commit([job.work for job in jobs if isinstance(job.work, Batch)])
        except Exception as error:
            failure = said(error, self._address.shown)
            return [failure for _ in jobs]

    # ---------------------------------------------------------------- one group

    async def _commit(self, batches: list[Batch], attempt: int = 1, *, again: bool = False) -> list[Answer | Exception]:
        """The group's answers, in order. A group that cannot stand is halved: each batch is told its own fate."""
        group = Group(batches)
        try:
            done = await self._write(group)
        except Exception as error:
            if is_lost(error) or isinstance(error, FoldlogError | OSError):
                return [said(error, self._address.shown)] * len(batches)
            if len(batches) > 1:
                if group.several and not again and is_refusal(error):
                    # A stream that moved on meanwhile may have torn a batch: by now it is seen to have, and stays out.
                    return await self._commit(batches, again=True)
                middle = len(batches) // 2
                halves = batches[:middle], batches[middle:]
                return [answer for half in halves for answer in await self._commit(half, again=True)]
            return [await self._alone(batches[0], error, attempt)]
        self._committed(done.positions)
        return [
            answer if answer is not None else await self._alone(batch, None, attempt)
            for batch, answer in zip(batches, done.answers, strict=True)
        ]

    async def _alone(self, batch: Batch, error: Exception | None, attempt: int) -> Answer | Exception:
        """A batch that was not written: why, or, where nothing stands in its way any more, once more."""
        if error is not None and not (is_refusal(error) or is_passing(error) or is_stale(error)):
            return said(error, self._address.shown)
        if error is not None and is_stale(error):
            for change in batch.rows:
                self._tables.forget(change.table)
        try:
            if error is None or is_refusal(error):
                conn = await self._connection()
                found = await reason(conn, self._schema, self._kinds, self._tables, batch, self._now())
                if found is not None:
                    return found
        except Exception as second:
            return said(second, self._address.shown)
        if attempt == limits.RETRIES:
            return Unavailable(f"{self._address.shown}: {error or 'others came first'}; tried {attempt} times")
        return (await self._commit([batch], attempt + 1))[0]

    async def _write(self, group: Group) -> Done:
        conn = await self._connection()
        await ensure(self._kinds, conn, self._schema, self._locks, group.kinds())
        stored = await self._stored(conn, group)
        now = self._now()
        seq = self._seq + 1
        statement = group.statement(self._schema, self._me, seq, now, self._kinds, stored, self._locks)
        try:
            if group.conditions or group.absent:
                row = await guarded.write(conn, self._schema, self._kinds, self._locks, group, stored, statement)
            else:
                (row,) = await fetch(conn, *statement)
        except Exception as error:
            if is_lost(error):
                return await self._found_out(group, seq, error)
            if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                await conn.rollback()
            raise
        except BaseException:  # the loop ends: what becomes of it is left to the server
            await conn.close()
            raise
        self._seq = seq
        try:
            done = group.done(row)
        except Fenced:
            # Forgotten, as after a week of sleep: nothing was done, and a new place is as good as the old one.
            await outcome.register(conn, self._schema, self._me)
            self._seq = 0
            return await self._write(group)
        for change in (change for batch in group.batches for change in batch.rows):
            if change.table.expiring and isinstance(change, Put):
                self._expiring[stored[change.table]] += 1
        return done

    async def _stored(self, conn: Connection, group: Group) -> dict[Table, Stored]:
        """The group's tables, made where they must be there."""
        stored: dict[Table, Stored] = {}
        for table, needed in group.tables().items():
            found = await (self._tables.create if needed else self._tables.find)(conn, table)
            if found is not None:
                stored[table] = found
        if any(change.if_version and change.table not in stored for batch in group.batches for change in batch.rows):
            raise Unheld  # it wants a version of a row whose table is not there
        return stored

    async def _found_out(self, group: Group, seq: int, lost: Exception) -> Done:
        """What the commit did whose answer was lost with the connection. Errors: `Unavailable`, where nothing was
        stored, and where the server does not come back in time to tell."""
        shown = self._address.shown
        self._doubt = seq
        try:
            async with asyncio.timeout(limits.OUTCOME):
                done = await self._asked(group, seq)
        except TimeoutError:
            raise Unavailable(
                f"{shown}: the connection was lost in a commit, and for {limits.OUTCOME:.0f} s there was no new one to"
                " ask whether it stands: it may. A command id makes sending it again safe"
            ) from lost
        if done is None:
            raise Unavailable(
                f"{shown}: the connection was lost before the commit, nothing was stored: {lost}"
            ) from lost
        return done

    async def _asked(self, group: Group, seq: int) -> Done | None:
        """The server's word on the commit, as soon as there is one."""
        while True:
            try:
                return await self._settle(await self._connected(), seq, group.batches)
            except (Unavailable, psycopg.OperationalError, psycopg.InterfaceError) as error:
                log.debug("asking again what became of a commit: %s", error)
                await asyncio.sleep(limits.WATCH_AGAIN)

    async def _settle(self, conn: Connection, seq: int, batches: Sequence[Batch]) -> Done | None:
        done, self._seq = await outcome.settle(conn, self._schema, self._me, seq, batches)
        self._doubt = None
        return done

    async def _tidy(self) -> None:
        """What need not be done before the answers."""
        for stored, puts in self._expiring.items():
            if puts >= limits.PURGE and self._conn is not None:
                self._expiring[stored] = 0
                try:
                    await guarded.purge(self._conn, stored, self._now(), _PURGE * puts)
                except psycopg.Error as error:  # dropped meanwhile, or the connection is lost: who commits next is told
                    log.debug("rows past their time were left: %s", error)
                    await self._conn.close()
                    self._conn = None

    async def _connection(self) -> Connection:
        conn = await self._connected()
        if self._doubt is not None:
            await self._settle(conn, self._doubt, [])
        return conn

    async def _connected(self) -> Connection:
        if self._conn is None or is_gone(self._conn):
            self._conn = await connect(self._address)
        return self._conn


def _keys(work: Batch | Table) -> frozenset[Any]:
    if isinstance(work, Table) or len(work.appends) > _FEW or len(work.rows) > _FEW:
        return frozenset()
    if any(one.condition for one in work.appends) or any(map(wants_absence, work.rows)):
        return frozenset()
    rows = [(change.table.name, change.key) for change in work.rows]
    return frozenset([*rows, *((append.tenant, append.stream) for append in work.appends)])


def _answer(job: Job, answer: Answer | Exception) -> None:
    if job.future.done():  # cancelled: the commit stands, nobody asks
        return
    if isinstance(answer, Exception):
        job.future.set_exception(answer)
    else:
        job.future.set_result(answer)
