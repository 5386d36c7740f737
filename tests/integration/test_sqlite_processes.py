"""Several processes on one file."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from foldlog import App
from foldlog.engines.sqlite import SqliteStore
from foldlog.errors import Conflict, Misconfigured, Unavailable
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Condition

DRAFTS = [Draft("x", 1, b"{}", tags=("seat:1",))]
PROCESSES = 8

OPENS = """
import asyncio, sys
from foldlog.engines.sqlite import SqliteStore
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch
async def main():
    sys.stdin.readline()
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.commit(Batch([Append("a-1", [Draft("x", 1, b"{}")])]))
    print(store.identity.log)
    await store.close()
print("ready", flush=True)
asyncio.run(main())
"""

RACES = """
import asyncio, sys
from foldlog.engines.sqlite import SqliteStore
from foldlog.errors import Conflict
from foldlog.model.message import Draft
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Condition
DRAFTS = [Draft("x", 1, b"{}", tags=("seat:1",))]
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    print("ready", flush=True)
    own = f"seat-{sys.argv[3]}"
    while line := sys.stdin.readline():
        at = int(line)
        if sys.argv[2] == "version":
            append = Append("seat-0", DRAFTS, expected=at)
        else:
            append = Append(own, DRAFTS, condition=Condition(Query(tags=("seat:1",)), at))
        try:
            await store.commit(Batch([append]))
            print("won", flush=True)
        except Conflict:
            print("lost", flush=True)
    await store.close()
asyncio.run(main())
"""

WRITES = """
import asyncio, sys
from foldlog.engines.sqlite import SqliteStore
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    async def sender(stream):
        number = 0
        while True:
            appended = await store.commit(Batch([Append(stream, [Draft("x", 1, b"{}")], expected=number)]))
            number = appended[0].version
            print(stream, number, flush=True)
    await asyncio.gather(*(sender(f"a-{i}") for i in range(16)))
asyncio.run(main())
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def finish(child):
    with child:
        said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return said


@pytest.fixture
def children():
    started = []
    yield started
    for child in started:
        if child.poll() is None:
            child.kill()
            child.communicate()


def test_processes_make_a_new_file_together(tmp_path, children):
    for attempt in range(3):
        path = tmp_path / f"{attempt}.db"
        children[:] = [start(OPENS, path) for _ in range(PROCESSES)]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
        assert len({finish(child) for child in children}) == 1
        assert [(e.version, e.position) for e in everything(path)] == [(i, i) for i in range(1, PROCESSES + 1)]


@pytest.mark.parametrize("condition", ["version", "tag"])
def test_one_of_many_processes_wins_each_round(tmp_path, children, condition):
    path = tmp_path / "log.db"
    children[:] = [start(RACES, path, condition, number) for number in range(PROCESSES)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for round_ in range(50):
        for child in children:
            child.stdin.write(f"{round_}\n")
        said = sorted(child.stdout.readline().strip() for child in children)
        assert said == ["lost"] * (PROCESSES - 1) + ["won"], f"round {round_}"
    for child in children:
        finish(child)
    assert [e.position for e in everything(path)] == list(range(1, 51))


def test_a_commit_of_another_process_wakes_who_waits(tmp_path, children):
    path = tmp_path / "log.db"

    async def body():
        store = SqliteStore(path)
        await store.open()
        children[:] = [start(RACES, path, "version", 0)]
        assert await asyncio.to_thread(children[0].stdout.readline) == "ready\n"
        waits = []
        for number in range(10):
            waiting = asyncio.create_task(store.wait(number, 30))
            await asyncio.sleep(0)  # it is on the list now
            begun = time.monotonic()
            children[0].stdin.write(f"{number}\n")
            await waiting
            waits.append(time.monotonic() - begun)
            assert await store.head() == number + 1
            children[0].stdout.readline()
        assert max(waits) < 5
        # A commit that came before anybody waited is not missed either.
        children[0].stdin.write("10\n")
        await asyncio.to_thread(children[0].stdout.readline)
        await store.wait(10, 30)
        assert time.monotonic() - begun < 15
        await store.close()

    asyncio.run(body())
    finish(children[0])


def test_what_was_acknowledged_survives_a_kill(tmp_path, children):
    path = tmp_path / "log.db"
    children[:] = [start(WRITES, path)]
    said = [children[0].stdout.readline().split() for _ in range(300)]
    children[0].send_signal(signal.SIGKILL)
    rest, _ = children[0].communicate()
    acknowledged = {}
    for stream, number in said + [line.split() for line in rest.splitlines() if len(line.split()) == 2]:
        acknowledged[stream] = max(int(number), acknowledged.get(stream, 0))
    events = everything(path)
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    for stream, number in acknowledged.items():
        versions = [e.version for e in events if e.stream == stream]
        assert versions == list(range(1, len(versions) + 1))
        assert len(versions) >= number


def test_a_store_refuses_after_a_fork(tmp_path):
    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                # Not awaited by the loop, which is the parent's: the first step is the refusal.
                store.head().send(None)
            except Unavailable:
                code = 0
            os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0
        await store.commit(Batch([Append("a-1", DRAFTS)]))
        await store.close()

    asyncio.run(body())


def child_says(work):
    """Fork; the child ends at once with what `work` answers, and an alarm ends one that hangs."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def refused(call, kind):
    try:
        call()
    except kind as error:
        return "forked" in error.message
    return False


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # Python 3.12 says so of every such fork
def test_a_forked_process_is_refused_the_parent_s_app_and_its_file(tmp_path):
    url = f"sqlite:{tmp_path}/log.db"
    app = App(url, [])
    anew = App(f"sqlite:{tmp_path}/./log.db", [])
    elsewhere = App(f"sqlite:{tmp_path}/other.db", [])

    def settled(other):
        with other.blocking() as b:
            b.settle()
        return True

    with app.blocking() as b:
        assert child_says(lambda: refused(b.settle, Unavailable)) == 0
        assert child_says(lambda: refused(lambda: settled(anew), Misconfigured)) == 0
        assert child_says(lambda: settled(elsewhere)) == 0
        b.settle()
    assert child_says(lambda: settled(anew)) == 0  # the parent has closed it


def test_a_forked_process_leaves_its_parent_s_with_block_without_a_word(tmp_path):
    url = f"sqlite:{tmp_path}/log.db"
    program = f"""
import os, sys
from foldlog import App
with App({url!r}, []).blocking() as b:
    child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_stores_in_one_process_see_each_other(tmp_path):
    async def body():
        one, two = SqliteStore(tmp_path / "log.db"), SqliteStore(tmp_path / "log.db")
        await one.open()
        await two.open()
        for number in range(20):
            writer, other = (one, two) if number % 2 else (two, one)
            await writer.commit(Batch([Append("a-1", DRAFTS, expected=number)]))
            with pytest.raises(Conflict):
                await other.commit(Batch([Append("a-1", DRAFTS, expected=number)]))
            condition = Condition(Query(tags=("seat:1",)), number)
            with pytest.raises(Conflict):
                await other.commit(Batch([Append("a-2", DRAFTS, condition=condition)]))
        await one.close()
        await two.close()

    asyncio.run(body())


def everything(path):
    async def body():
        store = SqliteStore(path)
        await store.open()
        events, after = [], 0
        while True:
            page = await store.read(Query(), after, 10_000)
            events += page.events
            if not page.more:
                break
            after = events[-1].position
        await store.close()
        return events

    return asyncio.run(body())
