"""The writer's groups, queue and errors."""

import asyncio
import os
import shutil
import subprocess
import threading
from contextlib import asynccontextmanager

import apsw
import pytest

from foldlog import limits
from foldlog.engines.sqlite import SqliteStore, changes, files
from foldlog.engines.sqlite.writer import Writer
from foldlog.errors import Conflict, Invalid, Unavailable
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Check, Condition, Delete, Put, RowKey, Table
from tests.opened import opened

PLAIN = Table("plain")
DRAFT = Draft("x", 1, b"{}")


@asynccontextmanager
async def held(path):
    """Another connection holds the lock of writers: what is committed meanwhile becomes one group."""
    conn = files.connect(str(path))
    conn.execute("BEGIN IMMEDIATE").fetchall()
    try:
        yield
    finally:
        conn.execute("COMMIT").fetchall()
        conn.close()


def append(stream, expected=-1, **said):
    return Batch([Append(stream, [DRAFT], expected=expected, **said)])


def waiting(store):
    """How many batches the writer has not taken yet."""
    return store._writer._queue.qsize()  # noqa: SLF001 - nothing outside can tell


async def together(store, path, batches):
    """The batches' answers; the first one waits for the lock alone, the others are one group."""
    async with held(path):
        first = asyncio.ensure_future(store.commit(append("first-1")))
        await asyncio.sleep(0)
        while waiting(store):  # noqa: ASYNC110 - the writer's thread has no event to wait for
            await asyncio.sleep(0)
        tasks = [asyncio.ensure_future(store.commit(batch)) for batch in batches]
        await asyncio.sleep(0)
    await asyncio.wait([first])
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_conflicts_never_touch_their_neighbours(tmp_path):
    key = RowKey("", "k")
    batches = [
        append("a-1", 0),
        append("a-1", 0),  # the one before took it
        append("a-1", 1),
        Batch([Append("b-1", [DRAFT]), Append("a-1", [DRAFT], expected=9)], [Put(PLAIN, key, b"never")]),
        Batch(rows=[Put(PLAIN, key, b"1", if_version=0)]),
        Batch([Append("b-1", [DRAFT], expected=0)], [Put(PLAIN, key, b"2", if_version=0)]),
        Batch([Append("b-1", [DRAFT], expected=0)], [Put(PLAIN, key, b"2", if_version=1)]),
        Batch(rows=[Put(PLAIN, key, b"3")]),
        Batch(rows=[Check(PLAIN, key, 3)]),
        Batch(rows=[Delete(PLAIN, key, 2)]),
        Batch(rows=[Delete(PLAIN, key, 3)]),
        Batch(rows=[Put(PLAIN, key, b"4", if_version=0)]),
        append("a-2", condition=Condition(Query(types=("x",)), 4)),
        append("a-2", condition=Condition(Query(types=("x",)), 3)),
    ]

    async def body():
        async with opened(SqliteStore(tmp_path / "log.db")) as store:
            answers = await together(store, tmp_path / "log.db", batches)
            row = (await store.get(PLAIN, [key]))[key]
            return answers, row, (await store.read(Query())).events

    answers, row, events = asyncio.run(body())
    assert [type(answer) is Conflict for answer in answers] == [
        False, True, False, True, False, True, False, False, False, True, False, False, False, True,
    ]  # fmt: skip
    assert (row.value, row.version) == (b"4", 1)
    assert [(e.stream, e.version) for e in events] == [
        ("first-1", 1), ("a-1", 1), ("a-1", 2), ("b-1", 1), ("a-2", 1),
    ]  # fmt: skip


def test_an_unexpected_error_is_its_own_batch_s(tmp_path, monkeypatch):
    path = tmp_path / "log.db"
    taken = changes.Changes.change

    def breaks(self, change):
        taken(self, change)
        if change.value == b"breaks":
            raise apsw.TooBigError("string or blob too big")

    monkeypatch.setattr(changes.Changes, "change", breaks)
    puts = [Batch([Append(f"a-{i}", [DRAFT])], [Put(PLAIN, RowKey("", f"{i}"), b"fine")]) for i in range(5)]
    puts[2] = Batch([Append("a-2", [DRAFT])], [Put(PLAIN, RowKey("", "2"), b"breaks")])

    async def body():
        async with opened(SqliteStore(path)) as store:
            answers = await together(store, path, puts)
            rows = await store.get(PLAIN, [RowKey("", f"{i}") for i in range(5)])
            return answers, rows, (await store.read(Query())).events

    answers, rows, events = asyncio.run(body())
    assert [getattr(answer, "code", "") for answer in answers] == ["", "", "too-large", "", ""]
    assert sorted(key.key for key in rows) == ["0", "1", "3", "4"]
    assert [e.stream for e in events] == ["first-1", "a-0", "a-1", "a-3", "a-4"]


def test_a_table_keeps_its_indexes(tmp_path):
    path = tmp_path / "log.db"
    other = Table("plain", ("amount",))

    async def body():
        async with opened(SqliteStore(path)) as store:
            first = Batch(rows=[Put(PLAIN, RowKey("", "a"), b"1")])
            second = Batch(rows=[Put(other, RowKey("", "b"), b"2", index=(1,))])
            answers = await together(store, path, [first, second, first])
            with pytest.raises(Invalid, match="a changed projection another version=, any other table another name"):
                await store.get(other, [RowKey("", "a")])
            return answers

    answers = asyncio.run(body())
    assert [type(answer) for answer in answers] == [list, Invalid, list]


def test_a_full_queue_refuses_at_once(tmp_path, monkeypatch):
    path = tmp_path / "log.db"
    monkeypatch.setattr(limits, "WRITER_QUEUE", 20)

    async def body():
        async with opened(SqliteStore(path)) as store:
            answers = await together(store, path, [append(f"a-{i}") for i in range(30)])
            again = await store.commit(append("a-0", 1))
            return answers, again

    answers, again = asyncio.run(body())
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(refused) == 10
    assert refused[0].retry_after > 0
    assert again[0].position == 22


def test_a_lock_that_stays_is_unavailable(tmp_path, monkeypatch):
    path = tmp_path / "log.db"
    monkeypatch.setattr(limits, "BUSY_TIMEOUT", 0.05)

    async def body():
        async with opened(SqliteStore(path)) as store:
            async with held(path):
                with pytest.raises(Unavailable, match="locked"):
                    await store.commit(append("a-1"))
            return await store.commit(append("a-1"))

    assert asyncio.run(body())[0].version == 1


def test_closing_finishes_what_was_accepted(tmp_path):
    path, before = tmp_path / "log.db", threading.enumerate()

    async def body():
        store = SqliteStore(path)
        await store.open()
        tasks = [asyncio.ensure_future(store.commit(append(f"a-{i}"))) for i in range(100)]
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(Unavailable):
            await store.commit(append("a-0"))
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(body())) == 100
    assert not [thread for thread in threading.enumerate() if thread not in before]


def test_a_cancelled_commit_harms_nobody(tmp_path):
    async def body():
        async with opened(SqliteStore(tmp_path / "log.db")) as store:
            tasks = [asyncio.ensure_future(store.commit(append(f"a-{i}"))) for i in range(50)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            answers = await asyncio.gather(*tasks[1::2])
            assert len(answers) == 25

    asyncio.run(body())


def test_a_dead_writer_leaves_nobody_waiting(tmp_path, monkeypatch):
    class Dies(BaseException):
        pass

    def dies(*_):
        raise Dies

    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    async def body():
        async with opened(SqliteStore(tmp_path / "log.db")) as store:
            monkeypatch.setattr(Writer, "_transaction", dies)
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await asyncio.wait_for(store.commit(append("a-1")), 30)

    asyncio.run(body())


def test_two_loops_share_a_store(tmp_path):
    path = tmp_path / "log.db"
    store = SqliteStore(path)

    async def many(category):
        for number in range(50):
            await store.commit(append(f"{category}-1", number))
            await store.wait(0, 10)

    async def body():
        await store.open()
        await asyncio.gather(many("a"), asyncio.to_thread(asyncio.run, many("b")))
        head = await store.head()
        await store.close()
        return head

    assert asyncio.run(body()) == 100


def test_versions_beyond_32_bits(tmp_path):
    path = tmp_path / "log.db"
    first = 2**33 + 7

    async def body():
        async with opened(SqliteStore(path)) as store:
            await store.commit(append("a-1"))
        conn, _ = files.open_file(str(path))
        conn.execute("INSERT INTO streams VALUES (2, '', 'a-2')").fetchall()
        sql = "INSERT INTO events SELECT ?, 2, ?, kind, time, tenant, meta, body FROM events WHERE position = 1"
        conn.execute(sql, (first, first)).fetchall()
        conn.execute("INSERT INTO by_stream VALUES (2, ?, ?)", (first, first)).fetchall()
        conn.close()
        async with opened(SqliteStore(path)) as store:
            with pytest.raises(Conflict):
                await store.commit(append("a-2", first - 1))
            appended = await store.commit(append("a-2", first))
            page = await store.read(Query(stream="a-2"), first)
            assert [(e.version, e.position) for e in page.events] == [(first + 1, first + 1)]
            return appended

    assert asyncio.run(body())[0][:2] == (first + 1, first + 1)


def test_rows_past_their_time_are_purged_a_few_at_a_time(tmp_path):
    path = tmp_path / "log.db"
    expiring = Table("inbox", (), expiring=True)
    now = [1_000]

    def put(key, expires):
        return Put(expiring, RowKey("", key), b"", expires=expires)

    async def body():
        async with opened(SqliteStore(path, now=lambda: now[0])) as store:
            await store.commit(Batch(rows=[put(f"old{i}", 2_000 + i) for i in range(10)]))
            now[0] = 3_000
            await store.commit(Batch(rows=[put("new0", 9_000), put("new1", 9_000)]))
            conn, _ = files.open_file(str(path))
            left = conn.execute("SELECT key FROM rows_1 ORDER BY key").fetchall()
            conn.close()
            return [key for (key,) in left]

    assert asyncio.run(body()) == ["new0", "new1", *(f"old{i}" for i in range(4, 10))]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB; where it cannot be mounted, SQLite's own limit of pages would prove less: skip."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
    yield place
    subprocess.run([shutil.which("umount") or "umount", place], check=True)


def test_a_full_disk_is_unavailable_and_loses_nothing(small_disk):
    path = small_disk / "log.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)

    async def body():
        acknowledged = 0
        async with opened(SqliteStore(path)) as store:
            big = Draft("x", 1, b"x" * 50_000)
            for number in range(100):
                try:
                    await store.commit(Batch([Append("a-1", [big], expected=number)]))
                except Unavailable:
                    break
                acknowledged += 1
            assert 5 < acknowledged < 99
            with pytest.raises(Unavailable):
                await store.commit(Batch([Append("a-1", [Draft("x", 1, b"x" * 900_000)])]))
            assert len((await store.read(Query())).events) == acknowledged
            ballast.unlink()
            again = await store.commit(Batch([Append("a-1", [big], expected=acknowledged)]))
            assert again[0].version == again[0].position == acknowledged + 1
        async with opened(SqliteStore(path)) as store:
            assert len((await store.read(Query())).events) == acknowledged + 1

    asyncio.run(body())
