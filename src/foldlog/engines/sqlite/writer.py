"""The one writer: a thread with a queue, whose batches share transactions (group commit).

Every condition of a batch is checked before anything of it is taken, so that one batch's conflict never touches its
neighbours. The answers of a group wake each event loop once.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

import apsw

from foldlog import limits
from foldlog.engines.sqlite.appends import Appends
from foldlog.engines.sqlite.changes import Changes
from foldlog.engines.sqlite.faults import loses_trust, said
from foldlog.engines.sqlite.wal import Wal
from foldlog.errors import FoldlogError, Unavailable
from foldlog.ports.store import Appended, Batch, Table

Answer = list[Appended] | None
Future = asyncio.Future[Answer]
Loop = asyncio.AbstractEventLoop
Results = list[tuple[Future, Answer | BaseException]]


class Job(NamedTuple):
    work: Batch | Table  # a table is dropped
    future: Future
    size: int


class Writer:
    """Owns the connection that writes. `deliver` gets the head after each commit, and the answers by loop."""

    def __init__(
        self,
        path: str,
        connect: Callable[[], apsw.Connection],
        now: Callable[[], int],
        start: int,
        deliver: Callable[[int, dict[Loop, Results]], None],
        held: Callable[[float], AbstractContextManager[bool]],
    ) -> None:
        self._path, self._connect, self._now, self._start = path, connect, now, start
        self._deliver, self._held = deliver, held
        self._bytes, self._lock = 0, threading.Lock()  # that wait
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._conn: apsw.Connection | None = None
        self._head = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="foldlog-writer", daemon=True)

    def begin(self, conn: apsw.Connection) -> None:
        self._use(conn)
        self._thread.start()

    def submit(self, work: Batch | Table, size: int) -> Future:
        """Queue the work. Errors: `Unavailable` at once when the queue is full or nobody serves it any more."""
        if self._queue.qsize() >= limits.WRITER_QUEUE:
            raise Unavailable(f"{limits.WRITER_QUEUE} batches wait to be written to {self._path}", retry_after=0.1)
        future: Future = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._bytes + size > limits.WRITER_QUEUE_BYTES:
                raise Unavailable(f"{self._bytes} bytes wait to be written to {self._path}", retry_after=0.1)
            self._bytes += size
        self._queue.put(Job(work, future, size))
        if self._ended:
            self._refuse_waiting()
        return future

    def end(self) -> None:
        """Finish what was accepted, then let go of the connection. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()  # the last connection of all checkpoints and removes the WAL
            self._conn = None

    # ---------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            while group := self._take():
                try:
                    answers = self._commit(group)
                except BaseException:
                    self._answer(group, [Unavailable("the writer has died") for _ in group])
                    raise
                self._answer(group, answers)
                self._tidy()
        finally:
            self._ended = True
            self._refuse_waiting()

    def _take(self) -> list[Job]:
        """The next jobs that share a transaction: all that wait, within the limits. Empty at the end."""
        job = self._queue.get()
        group: list[Job] = []
        size = 0
        while job is not None:
            group.append(job)
            size += job.size
            if len(group) == limits.WRITER_GROUP or size >= limits.WRITER_GROUP_BYTES:
                break
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
        with self._lock:
            self._bytes -= size
        if group and job is None:
            self._queue.put(None)  # the end stays the last thing
        return group

    def _tidy(self) -> None:
        """What need not be done before the answers."""
        if self._conn is None:
            return
        try:
            self._wal.checkpoint(self._held)
        except apsw.Error as error:  # who commits or reads next is told
            self._undo(error)

    def _commit(self, group: list[Job]) -> list[Answer | BaseException]:
        """The group's answers, in order."""
        try:
            return self._transaction(self._connection(), group)
        except Exception as error:
            self._undo(error)
            failures = [said(error, self._path) for _ in group]
            if len(group) == 1 or isinstance(failures[0], Unavailable):
                return list(failures)
        # One of them is the cause: alone, it harms nobody else.
        return [self._commit([job])[0] for job in group]

    def _transaction(self, conn: apsw.Connection, group: list[Job]) -> list[Answer | BaseException]:
        appends, changes = self._appends, self._changes
        conn.execute("BEGIN IMMEDIATE").get
        self._wal.make_room()
        now = self._now()
        if not appends.begin(now):
            changes.forget()
        changes.begin(now)
        answers = [self._one(job.work) for job in group]
        appends.flush()
        changes.flush()
        conn.execute("COMMIT").get
        self._head = appends.head
        return answers

    def _one(self, work: Batch | Table) -> Answer | BaseException:
        """Check all of it, then take all of it."""
        appends, changes = self._appends, self._changes
        if isinstance(work, Table):
            changes.drop(work)
            return None
        try:
            heads = [appends.check(append) for append in work.appends]
            for change in work.rows:
                changes.check(change)
        except FoldlogError as refused:
            return refused
        for change in work.rows:
            changes.change(change)
        return [appends.append(append, *head) for append, head in zip(work.appends, heads, strict=True)]

    def _undo(self, error: Exception) -> None:
        """Back to what is on disk."""
        conn = self._conn
        if conn is None:
            return
        self._appends.forget()
        self._changes.forget()
        try:
            if conn.in_transaction:
                conn.execute("ROLLBACK").get
        except apsw.Error as second:
            error = second
        if conn.in_transaction or loses_trust(error):
            self._conn = None
            conn.close(True)

    def _connection(self) -> apsw.Connection:
        if self._conn is not None:
            return self._conn
        conn = self._connect()
        try:
            # What a failed commit left behind the WAL's end could be found by a recovery: write over it.
            conn.execute("UPDATE log SET epoch = epoch").get
        except BaseException:
            conn.close(True)
            raise
        self._use(conn)
        return conn

    def _use(self, conn: apsw.Connection) -> None:
        self._conn = conn
        self._appends, self._changes = Appends(conn, self._start), Changes(conn)
        self._wal = Wal(self._path, conn)

    def _answer(self, group: list[Job], answers: list[Answer | BaseException]) -> None:
        loops: dict[Loop, Results] = {}
        for (_, future, _), answer in zip(group, answers, strict=True):
            loops.setdefault(future.get_loop(), []).append((future, answer))
        self._deliver(self._head, loops)

    def _refuse_waiting(self) -> None:
        jobs: list[Job] = []
        with suppress(Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    jobs.append(job)
        if jobs:
            self._answer(jobs, [Unavailable("the store is closed") for _ in jobs])


def settle(results: Results) -> None:
    """Give the answers, on their loop."""
    for future, answer in results:
        if future.done():  # cancelled: the commit stands, nobody asks
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
