"""Reads on the spot never wait and never starve; where they would, a thread takes over."""

import asyncio
import threading
from functools import partial

import apsw
import pytest

from foldlog.engines.sqlite import files
from foldlog.engines.sqlite.readers import Readers
from foldlog.errors import Unavailable

HERE = "foldlog-reader"


@pytest.fixture
def readers(tmp_path):
    path = str(tmp_path / "log.db")
    conn, _ = files.open_file(path)
    made = Readers(path, partial(files.connect, path, readonly=True), 2)
    made.begin()
    yield made
    made.end()
    conn.close()


def where(conn: apsw.Connection) -> tuple[int, str]:
    return conn.execute("SELECT count(*) FROM events").get, threading.current_thread().name


def test_a_short_read_needs_no_thread(readers):
    assert asyncio.run(readers.here(where)) == (0, threading.current_thread().name)


def test_while_reads_are_held_back_a_short_one_waits_elsewhere(readers):
    async def body():
        with readers.held(0.1) as quiet:
            assert quiet
            task = asyncio.create_task(readers.here(where))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the loop goes on
            assert not task.done()
        return await task

    assert asyncio.run(body()) == (0, HERE)


def test_two_loops_read_at_once(readers):
    inside, leave = threading.Event(), threading.Event()

    def slow(conn: apsw.Connection) -> str:
        inside.set()
        leave.wait(10)
        return where(conn)[1]

    answers = []
    other = threading.Thread(target=lambda: answers.append(asyncio.run(readers.here(slow))), name="other")
    other.start()
    inside.wait(10)
    assert asyncio.run(readers.here(where)) == (0, HERE)
    leave.set()
    other.join()
    assert answers == ["other"]


def test_what_is_busy_is_read_elsewhere(readers):
    tries = []

    def busy_at_first(conn: apsw.Connection) -> str:
        tries.append(threading.current_thread().name)
        if len(tries) == 1:
            raise apsw.BusyError("locked")
        return where(conn)[1]

    assert asyncio.run(readers.here(busy_at_first)) == HERE


def test_a_connection_that_lost_trust_is_given_up(readers):
    def failing(_conn: apsw.Connection) -> None:
        raise apsw.IOError("disk I/O error")

    with pytest.raises(Unavailable):
        asyncio.run(readers.here(failing))
    assert asyncio.run(readers.here(where)) == (0, HERE)


def test_asking_in_a_loop_starves_nobody(readers):
    async def body():
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0, done.set)
        count = 0
        while not done.is_set():
            await readers.here(where)
            count += 1
        return count

    assert asyncio.run(body()) < 1_000


def test_a_closed_store_says_so(readers):
    readers.end()
    with pytest.raises(Unavailable):
        asyncio.run(readers.here(where))
