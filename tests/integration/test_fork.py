"""A fork is the cut log field by field, under an identity of its own, and there as a whole or not at all."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

from foldlog import App, handler
from foldlog.connect import check_fork, fork
from foldlog.engines.sqlite import SqliteStore, forking
from foldlog.errors import Conflict, Corrupt, Invalid, Misconfigured, Unavailable
from foldlog.flow.fork import Fork, cut_at, first, forked
from foldlog.model.message import Draft, Meta, encode_meta, to_datetime
from foldlog.model.query import Query
from foldlog.ports.store import Append, Batch, Put, RowKey, Table
from tests.integration.cli_process import machine
from tests.unit.bank import Deposit, Open, Opened, account, balances


def quiet(position):
    """Nobody looks."""


def fields(event):
    kind = event.kind
    return (
        (event.position, event.tenant, event.stream, event.version, event.time, event.raw_meta, event.body, event.id),
        (kind.category, kind.type, kind.schema, kind.encoding),
    )


async def everything(store, query=Query()):  # noqa: B008 - a frozen value
    page = await store.read(query, 0, 10_000)
    assert not page.more
    return [fields(event) for event in page.events]


async def fill(store, seed, batches=40):
    """Events of several tenants, categories, types, versions and tags."""
    dice = random.Random(seed)
    for number in range(batches):
        appends = {}
        for _ in range(dice.randint(1, 4)):
            tenant, stream = dice.choice(["", "", "acme"]), f"{dice.choice('ab')}-{dice.randint(1, 5)}"
            tags = tuple(f"n:{n}" for n in range(dice.randint(0, 2)))
            drafts = [
                Draft(f"t{dice.randint(1, 9)}", dice.randint(1, 2), b'{"x":%d}' % n, meta(number, n, tags), tags)
                for n in range(dice.randint(1, 3))
            ]
            appends[tenant, stream] = Append(stream, drafts, tenant=tenant)
        await store.commit(Batch(list(appends.values()), [Put(Table("view.x.1"), RowKey("", "a"), b"1")]))


def meta(number, index, tags):
    return encode_meta(Meta(f"c{number}", index, "ü", actor="me", tags=tags, headers={"a": [1, None]}))


@pytest.mark.parametrize("start", [0, 2**40])
def test_at_each_position_it_is_the_cut_log(start, tmp_path):
    async def body():
        now = iter(range(10**15, 10**18, 7))
        source = SqliteStore(tmp_path / "log.db", start=start, now=lambda: next(now))
        await source.open()
        await fill(source, 1)
        whole = await everything(source)
        queries = [Query(tenant="acme"), Query(tags=("n:1",)), Query(types=("t3",)), Query(stream="a-1"), Query()]
        for upto in (start + 1, start + 2, start + 37, whole[-1][0][0]):
            new = tmp_path / f"{upto}.db"
            row = Fork(source.identity.log, 1, upto).row()
            log = await forking.fork(str(tmp_path / "log.db"), str(new), upto, [row], quiet)
            copy = SqliteStore(new)
            await copy.open()
            assert copy.identity.log == log != source.identity.log
            assert await copy.head() == upto
            for query in queries:
                cut = [one for one in await everything(source, query) if one[0][0] <= upto]
                assert await everything(copy, query) == cut
            assert await forked(copy) == Fork(source.identity.log, 1, upto, "new")
            assert not await copy.get(Table("view.x.1"), [RowKey("", "a")])
            stream, version = whole[upto - start - 1][0][2:4]
            tenant = whole[upto - start - 1][0][1]
            latest = max(one[0][3] for one in whole if one[0][1:3] == (tenant, stream) and one[0][0] <= upto)
            with pytest.raises(Conflict):
                await copy.commit(Batch([Append(stream, [Draft("t", 1, b"{}")], latest - 1, tenant)]))
            (done,) = await copy.commit(Batch([Append(stream, [Draft("t", 1, b"{}")], latest, tenant)]))
            assert (done.position, done.version) == (upto + 1, latest + 1)
            assert version <= latest
            await copy.close()
        assert await everything(source) == whole
        await source.close()

    asyncio.run(body())


def test_a_log_with_a_hole_and_a_cut_inside_it(tmp_path):
    async def body():
        path = tmp_path / "log.db"
        for start in (0, 500_000):
            store = SqliteStore(path, start=start)
            await store.open()
            await store.commit(Batch([Append("a-1", [Draft("t", 1, b"{}")] * 3)]))
            await store.close()
        store = SqliteStore(path)
        await store.open()
        cut = await cut_at(store, 400_000, "recorded", quiet)
        assert cut.position == 3
        whole = await everything(store)
        assert [one[0][0] for one in whole] == [1, 2, 3, 500_001, 500_002, 500_003]
        await store.close()
        for upto, count in ((3, 3), (400_000, 3), (500_002, 5)):
            await forking.fork(str(path), str(tmp_path / f"{upto}.db"), upto, [], quiet)
            copy = SqliteStore(tmp_path / f"{upto}.db")
            await copy.open()
            assert await everything(copy) == whole[:count]
            await copy.close()

    asyncio.run(body())


def test_pieces_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(forking, "_PIECE", 7)
    heard = []

    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        await fill(store, 2)
        whole = await everything(store)
        upto = len(whole) - 3
        await forking.fork(str(tmp_path / "log.db"), str(tmp_path / "new.db"), upto, [], heard.append)
        copy = SqliteStore(tmp_path / "new.db")
        await copy.open()
        assert await everything(copy) == whole[:upto]
        assert heard == [*range(7, upto, 7), upto]
        await copy.close()
        await store.close()

    asyncio.run(body())


def test_commits_go_on_while_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(forking, "_PIECE", 10)

    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        await fill(store, 3)
        whole = await everything(store)
        loop = asyncio.get_running_loop()

        def told(position):
            one = Batch([Append("late-1", [Draft("t", 1, b"{}")])])
            asyncio.run_coroutine_threadsafe(store.commit(one), loop).result(30)

        await forking.fork(str(tmp_path / "log.db"), str(tmp_path / "new.db"), len(whole), [], told)
        assert len(await everything(store)) > len(whole)
        await store.close()
        copy = SqliteStore(tmp_path / "new.db")
        await copy.open()
        assert await everything(copy) == whole
        await copy.close()

    asyncio.run(body())


@pytest.fixture
def log(tmp_path):
    """A file with some events, closed."""

    async def body():
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        await fill(store, 4)
        await store.close()

    asyncio.run(body())
    return tmp_path / "log.db"


def names(path):
    """What stands there but the old log."""
    return sorted(one.name for one in path.iterdir() if not one.name.startswith("log.db"))


def test_what_fails_half_way_leaves_nothing(log, tmp_path):
    def told(position):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        asyncio.run(forking.fork(str(log), str(tmp_path / "new.db"), 20, [], told))
    assert names(tmp_path) == []


def test_who_cancels_it_waits_until_nothing_is_left(log, tmp_path, monkeypatch):
    monkeypatch.setattr(forking, "_PIECE", 1)
    monkeypatch.setattr(forking, "_OPCODES", 1)

    async def body():
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        making = asyncio.create_task(
            forking.fork(
                str(log), str(tmp_path / "new.db"), 20, [], lambda _: loop.call_soon_threadsafe(begun.set) and None
            )
        )
        await begun.wait()
        making.cancel()
        (outcome,) = await asyncio.gather(making, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
        return names(tmp_path)

    left = asyncio.run(body())
    assert left in ([], ["new.db"])  # it may have been whole just then


KILLED = """
import asyncio, os, signal, sys
from foldlog.engines.sqlite import forking
forking._PIECE = 5
asyncio.run(forking.fork(sys.argv[1], sys.argv[2], 20, [], lambda at: os.kill(os.getpid(), signal.SIGKILL)))
"""


def test_a_killed_one_has_no_name_and_the_next_one_succeeds(log, tmp_path):
    new = tmp_path / "new.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(log), str(new)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["new.db.forking"]
    (told,) = machine("fork", f"sqlite:{log}", f"sqlite:{new}", "--at", "20")
    assert told["position"] == 20
    assert names(tmp_path) == ["new.db"]
    assert len(machine("events", f"sqlite:{new}")) == 20


def test_one_killed_after_its_last_step_has_done_no_harm(log, tmp_path):
    new, kept = tmp_path / "new.db", tmp_path / "kept.db"
    asyncio.run(forking.fork(str(log), str(new), 20, [], quiet))
    (tmp_path / "new.db.forking").hardlink_to(new)
    new.rename(kept)
    before = kept.read_bytes()
    asyncio.run(forking.fork(str(log), str(new), 10, [], quiet))
    assert kept.read_bytes() == before
    assert names(tmp_path) == ["kept.db", "new.db"]
    assert len(machine("events", f"sqlite:{new}")) == 10


def test_two_at_once_do_not_write_one_file(log, tmp_path):
    new, seen = str(tmp_path / "new.db"), []

    def told(position):
        try:
            asyncio.run(forking.fork(str(log), new, 20, [], quiet))
        except Unavailable as error:
            seen.append(error.message)

    asyncio.run(forking.fork(str(log), new, 20, [], told))
    assert "another process is forking" in seen[0]
    assert names(tmp_path) == ["new.db"]


def test_a_file_that_comes_under_its_name_meanwhile_is_left_alone(log, tmp_path):
    new = tmp_path / "new.db"
    with pytest.raises(Invalid, match="is there already"):
        asyncio.run(forking.fork(str(log), str(new), 20, [], lambda _: new.write_text("mine") and None))
    assert new.read_text() == "mine"
    assert names(tmp_path) == ["new.db"]


def test_only_the_owner_may_read_it(log, tmp_path):
    before = os.umask(0)
    try:
        asyncio.run(forking.fork(str(log), str(tmp_path / "new.db"), 20, [], quiet))
    finally:
        os.umask(before)
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def test_a_damaged_page_is_not_copied(log, tmp_path):
    damaged = bytearray(log.read_bytes())
    page = damaged.find(b'{"x":0}')
    assert page > 0
    damaged[page] ^= 1
    log.write_bytes(damaged)
    with pytest.raises(Corrupt, match=r"log\.db"):
        asyncio.run(forking.fork(str(log), str(tmp_path / "new.db"), 100, [], quiet))
    assert names(tmp_path) == []


def test_functions_begin_anew_and_handlers_behind_the_cut(tmp_path):
    greeted = []

    @handler("greet")
    async def greet(event: Opened) -> None:
        greeted.append(event.owner)

    async def body():
        old = App(f"sqlite:{tmp_path}/old.db", [account, balances, greet])
        async with old:
            for key in "abc":
                await old.send(account, key, Open(key), command_id="once")
                await old.send(account, key, Deposit(5))
            await old.settle()
            store = old.system.store
            for handlers in ("new", "all"):
                row = Fork(store.identity.log, store.identity.epoch, 4, handlers).row()
                await fork(old.url, f"sqlite:{tmp_path}/{handlers}.db", 4, [row], quiet)
        assert sorted(greeted) == ["a", "b", "c"]
        greeted.clear()
        new = App(f"sqlite:{tmp_path}/new.db", [account, balances, greet])
        async with new:
            await new.settle()
            assert [await new.get(balances, key) for key in "abc"] == [5, 5, None]
            assert greeted == []
            done = await new.send(account, "c", Open("c"), command_id="once")
            assert (done.position, done.repeated) == (5, False)
            await new.settle()
            assert greeted == ["c"]
            greeted.clear()
        async with new:  # the checkpoint has taken over
            await new.settle()
            assert greeted == []
        async with App(f"sqlite:{tmp_path}/all.db", [account, balances, greet]) as again:
            await again.settle()
            assert sorted(greeted) == ["a", "b"]
            assert await first(again.system.store, "first") == 0
            assert await first(again.system.store, "new") == 4

    asyncio.run(body())


def test_by_time_of_recording_and_of_occurrence(tmp_path):
    async def body():
        now = iter([10**15 + 10**6 * n for n in range(1_000)])
        store = SqliteStore(tmp_path / "log.db", now=lambda: next(now))
        await store.open()
        # Occurred at second 5, 1, (not said), 9, 2.
        for second in (5, 1, None, 9, 2):
            said = Meta("c", occurred=None if second is None else second * 1_000_000)
            await store.commit(Batch([Append("a-1", [Draft("t", 1, b"{}", encode_meta(said))])]))
        events = (await store.read(Query())).events
        by_record = [(await cut_at(store, event.recorded, "recorded", quiet)).position for event in events]
        assert by_record == [1, 2, 3, 4, 5]
        just_before = events[2].recorded - timedelta(microseconds=1)
        assert (await cut_at(store, just_before, "recorded", quiet)).position == 2
        heard = []
        cut = await cut_at(store, to_datetime(5_000_000), "occurred", heard.append)
        # The third said nothing: it occurred when it was recorded, which is later; the fifth is behind it.
        assert (cut.position, cut.left_out, heard) == (2, 1, [5])
        cut = await cut_at(store, events[2].recorded, "occurred", quiet)
        assert (cut.position, cut.left_out) == (5, 0)
        with pytest.raises(Invalid, match="nothing to fork"):
            await cut_at(store, to_datetime(1), "occurred", quiet)
        with pytest.raises(Invalid, match="nothing to fork"):
            await cut_at(store, to_datetime(1), "recorded", quiet)
        with pytest.raises(Invalid, match="time zone"):
            await cut_at(store, to_datetime(1).replace(tzinfo=None), "recorded", quiet)
        with pytest.raises(Invalid, match="ends at position 5"):
            await cut_at(store, 6, "recorded", quiet)
        with pytest.raises(Invalid, match="nothing to fork"):
            await cut_at(store, 0, "recorded", quiet)
        assert (await cut_at(store, None, "recorded", quiet)).position == 5
        await store.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("url", "new"),
    [("memory:", "sqlite:x.db"), ("sqlite:x.db", "memory:"), ("sqlite:x.db", "sqlite:y.db?start=7"), ("a", "sqlite:b")],
)
def test_stores_that_cannot_be_forked_into_each_other(url, new):
    with pytest.raises(Misconfigured):
        check_fork(url, new)
