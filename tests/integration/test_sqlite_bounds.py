"""What must stay bounded: the WAL, what waits, and how long opening and closing take."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from foldlog import limits
from foldlog.engines.memory import MemoryStore
from foldlog.engines.sqlite import SqliteStore, files
from foldlog.engines.sqlite import wal as wal_file
from foldlog.errors import Unavailable
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Put, Range, RowKey, Table
from tests.opened import opened

DRAFT = Draft("x", 1, b"x" * 300)
KEPT = 2_000_000


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(wal_file, "KEPT", KEPT)
    return tmp_path / "log.db"


def wal(path):
    return Path(f"{path}-wal").stat().st_size


async def overlapping(store, path, commits):
    """Commits while some read is always under way; the WAL's largest size and the slowest commit."""
    largest, slowest, over = 0, 0.0, False

    async def read():
        while not over:
            await store.read(Query(), 0, 1_000)

    async def write():
        nonlocal largest, slowest, over
        for _ in range(commits):
            began = time.monotonic()
            await store.commit(Batch([Append("a-1", [DRAFT] * 300)]))
            slowest = max(slowest, time.monotonic() - began)
            largest = max(largest, wal(path))
        over = True

    await asyncio.gather(write(), *(read() for _ in range(8)))
    return largest, slowest


def test_the_wal_stays_short_while_reads_overlap(log):
    async def body():
        async with opened(SqliteStore(log)) as store:
            largest, _ = await overlapping(store, log, 80)
            written = log.stat().st_size
            return largest, written

    largest, written = asyncio.run(body())
    assert written > 3 * KEPT
    assert largest < 3 * KEPT + wal_file.CHECKPOINT_PAGES * 4_096


def test_another_readers_old_view_neither_stops_commits_nor_closing(log):
    async def body():
        async with opened(SqliteStore(log)) as store:
            await store.commit(Batch([Append("a-1", [DRAFT])]))
            with closing(files.connect(str(log), readonly=True)) as other:
                other.execute("BEGIN").fetchall()
                assert other.execute("SELECT count(*) FROM events").get == 1
                _, slowest = await overlapping(store, log, 40)
                assert wal(log) > KEPT
                other.execute("COMMIT").fetchall()
            largest, _ = await overlapping(store, log, 40)
            assert wal(log) < largest
            return slowest

    assert asyncio.run(body()) < limits.BUSY_TIMEOUT / 2


def test_bytes_that_wait_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "WRITER_QUEUE_BYTES", 100_000)
    path = tmp_path / "log.db"
    large = Batch([Append("a-1", [Draft("x", 1, b"x" * 30_000)])])

    async def body():
        async with opened(SqliteStore(path)) as store:
            with closing(files.connect(str(path))) as other:
                other.execute("BEGIN IMMEDIATE").fetchall()
                tasks = [asyncio.ensure_future(store.commit(large)) for _ in range(10)]
                done, _ = await asyncio.wait(tasks, timeout=0.2)
                other.execute("COMMIT").fetchall()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            await store.commit(large)
            return len(done), answers

    refused, answers = asyncio.run(body())
    assert [type(answer) for answer in answers if not isinstance(answer, list)] == [Unavailable] * refused
    assert 3 <= refused <= 7  # the writer may have taken some before the last came


def test_reads_that_wait_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "READER_QUEUE", 20)

    async def body():
        async with opened(SqliteStore(tmp_path / "log.db")) as store:
            asked = [store.read(Query(tags=("t:1",))) for _ in range(30)]  # short ones never wait
            answers = await asyncio.gather(*asked, return_exceptions=True)
            await store.read(Query())
            return answers

    refused = [answer for answer in asyncio.run(body()) if isinstance(answer, Unavailable)]
    assert 0 < len(refused) <= 10
    assert refused[0].retry_after > 0


def test_opening_and_closing_do_not_wait_for_threads_of_others(tmp_path):
    free = threading.Event()

    async def body():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        hung = asyncio.ensure_future(asyncio.to_thread(free.wait, 100))
        try:
            async with asyncio.timeout(30), opened(SqliteStore(tmp_path / "log.db")) as store:
                await store.commit(Batch([Append("a-1", [DRAFT])]))
        finally:
            free.set()
            await hung

    asyncio.run(body())


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_rows_expire_by_the_clock_not_by_the_log(tmp_path, engine):
    now = 10
    table, key = Table("marks", expiring=True), RowKey("", "one")

    async def body():
        nonlocal now
        store = (
            MemoryStore(now=lambda: now) if engine == "memory" else SqliteStore(tmp_path / "log.db", now=lambda: now)
        )
        await store.open()
        await store.commit(Batch(rows=[Put(table, key, b"", expires=20)]))
        now = 1_000
        await store.commit(Batch([Append("a-1", [DRAFT])]))
        assert await store.get(table, [key]) == {}
        assert (await store.scan(table, Range())).rows == []
        now = 11
        assert key in await store.get(table, [key])
        assert len((await store.scan(table, Range())).rows) == 1
        await store.commit(Batch(rows=[Put(table, key, b"", 1, expires=20)]))
        assert (await store.commit(Batch([Append("a-1", [DRAFT])])))[0].time == 1_000
        await store.close()

    asyncio.run(body())


def test_room_is_made_ahead_and_never_over_what_another_process_wrote(tmp_path):
    """Two writers in turn on one file, the WAL growing under both: each finds all that the other wrote."""
    path = tmp_path / "log.db"

    async def body():
        async with opened(SqliteStore(path)) as one, opened(SqliteStore(path)) as other:
            for number in range(300):
                await (one, other)[number % 2].commit(Batch([Append("a-1", [DRAFT] * (1 + number % 7))]))
            page = await one.read(Query(stream="a-1"), 0, 10_000)
            return [event.version for event in page.events], wal(path)

    versions, size = asyncio.run(body())
    assert versions == list(range(1, len(versions) + 1))
    assert size > 300 * 4_096  # it did grow
    conn, _ = files.open_file(str(path))
    assert conn.execute("PRAGMA integrity_check").get == "ok"
    conn.close()


def test_a_disk_without_room_ahead_still_takes_commits(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wal_file.os, "pwrite", full)

    async def body():
        async with opened(SqliteStore(tmp_path / "log.db")) as store:
            for _ in range(5):
                await store.commit(Batch([Append("a-1", [DRAFT])]))
            return (await store.read(Query())).head

    assert asyncio.run(body()) == 5
