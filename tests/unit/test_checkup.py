"""A look at functions and events finds what was planted, and nothing where nothing is wrong; on both engines."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from foldlog import Backoff, Decider, event, handler, limits, projection
from foldlog.errors import Corrupt
from foldlog.flow.checkup import Parts, examine
from foldlog.flow.fork import Fork
from foldlog.flow.lease import CHECKPOINTS, Checkpoint
from foldlog.flow.members import MEMBERS, Member
from foldlog.model.finding import FAIL, OK, WARN, Examined
from foldlog.ports.store import Batch, Put, RowKey
from tests.unit.bank import Deposit, Open, Opened, account, balances

KINDS = [("account", "account.opened", 1), ("account", "account.deposited", 1)]


@handler("greet", retry=Backoff(1))
async def greet(event: Opened) -> None:
    if event.owner == "nobody":
        raise ValueError(event.owner)


async def look(app, kinds=(), tables=(), now=None):
    system = app.system
    parts = Parts(system.functions(), system.decisions, system.schemas)
    below = Examined([], list(kinds), list(tables))
    return await examine(system.store, now or system.clock.now(), parts, below)


def wrong(findings):
    return [(one.check, one.state, one.what) for one in findings if one.state != OK]


def put(key, position=0, owner="", until=0, log="", epoch=1):
    value = msgspec.json.encode(Checkpoint(position, owner, until, log, epoch))
    return Put(CHECKPOINTS, RowKey("", key), value)


def test_nothing_is_wrong_where_all_is_well(site, monkeypatch):
    monkeypatch.setattr(limits, "FOLD_SLOW", 60.0)  # this machine may be busy

    async def main():
        async with site.app([account, balances, greet]) as app:
            for key in "ab":
                await app.send(account, key, Open(key))
                await app.send(account, key, Deposit(5))
            await app.settle()
            findings = await look(app, KINDS, ["checkpoints", balances.table])
            assert wrong(findings) == []
            assert {one.check for one in findings} == {
                "log",
                "leases",
                "dead letters",
                "backlog",
                "decoding",
                "folds",
            }
            told = {one.check: one.what for one in findings}
            assert told["decoding"] == "2 kinds of events, all known; 8 samples decoded"
            assert told["folds"].startswith("the slowest of 2 is ")
            assert all(one.next == "" for one in findings)
            # Without an app only what needs no code.
            bare = await examine(app.system.store, app.system.clock.now(), None, Examined([], KINDS))
            assert {one.check for one in bare} == {"log", "leases", "dead letters", "backlog"}

    asyncio.run(main())


def test_leases_that_nobody_holds_or_that_ended(site, clock):
    async def main():
        app = site.app([account, balances, greet])
        await app.open_only()
        await app.send(account, "a", Open("a"))
        (log, epoch), now = (app.system.store.identity.log, 1), clock.now()
        assert [one for one in wrong(await look(app)) if one[0] == "leases"] == [
            ("leases", WARN, "handler.greet never ran"),
            ("leases", WARN, f"{balances.table} never ran"),
        ]
        rows = [
            *(put(f"handler.greet/{number:02d}", number % 2, "host:1", now - 1, log, epoch) for number in range(8)),
            *(put(f"handler.greet/{number:02d}", 1, "host:1", now + 1, log, epoch) for number in range(8, 16)),
            *(put(f"{balances.table}/{number:02d}", 1, "", 0, log, epoch) for number in range(16)),
            *(put(f"handler.gone/{number:02d}", 1, "", 0, log, epoch) for number in range(16)),
            *(put(f"view.balances.7/{number:02d}", 1, "", 0, log, epoch) for number in range(16)),
            put("handler.elsewhere/00", 1, "host:2", now + 1, log, epoch),
        ]
        await app.system.store.commit(Batch(rows=rows))
        found = [one for one in await look(app) if one.check == "leases"]
        gone, ended, idle, old = [one for one in found if one.state == WARN]
        assert ended.what.startswith("handler.greet: 8 partitions, host:1 has not renewed its lease, which ended ")
        assert ended.what.endswith("; the lowest is at position 0, 1 behind")
        assert gone.what == "handler.gone: this app names no such function, and nobody runs it"
        assert "it does no harm" in gone.next
        assert old.next.endswith("`foldlog views APP drop balances 7`")
        assert idle.what == (f"{balances.table}: 16 partitions, nobody runs it; the lowest is at position 1, 0 behind")
        assert [one.what for one in found if one.state == OK] == [
            "handler.elsewhere: 1 partition, host:2 runs it; the lowest is at position 1, 0 behind",
            "handler.greet: 8 partitions, host:1 runs it; the lowest is at position 1, 0 behind",
        ]
        await app.system.store.commit(Batch(rows=[put(f"{balances.table}/03", 1, "", 0, "another", epoch)]))
        (foreign,) = [one for one in await look(app) if one.state == FAIL]
        assert foreign.what == f"{balances.table}: 1 partition of another log, another"
        await app.stop()

    asyncio.run(main())


def test_functions_that_running_processes_have_given_up(site, clock):
    def beat(owner, *functions, seconds=10, **stopped):
        told = {name.replace("_", "."): why for name, why in stopped.items()}
        member = Member(1, clock.now() + seconds * 1_000_000, functions, stopped=told)
        return Put(MEMBERS, RowKey("", owner), msgspec.json.encode(member))

    async def main():
        app = site.app([account, balances, greet])
        await app.open_only()
        log = app.system.store.identity.log
        rows = [
            put("handler.greet/00", 0, "", 0, log),
            beat("host:1:a", "view.balances.1", handler_greet="misconfigured: no"),
            beat("host:2:b", handler_greet="misconfigured: no", view_balances_1="ValueError: bad"),
            beat("host:3:c", "handler.greet", seconds=-1, handler_old="long ago"),
        ]
        await app.system.store.commit(Batch(rows=rows))
        found = [one for one in await look(app) if one.check in {"stopped", "leases"}]
        assert [(one.check, one.state, one.what) for one in found[:2]] == [
            ("stopped", FAIL, "handler.greet has stopped for good in host:1:a, host:2:b: misconfigured: no"),
            ("stopped", WARN, "view.balances.1 has stopped for good in host:2:b: ValueError: bad"),
        ]
        assert all("start its process anew" in one.next for one in found if "greet" in one.what)
        await app.stop()

    asyncio.run(main())


def test_dead_letters_and_a_backlog(site, clock, monkeypatch):
    @handler("flaky", retry=Backoff(1_000_000, 3_600.0, 3_600.0))
    async def flaky(event: Opened) -> None:
        raise ValueError("not now")

    async def main():
        app = site.app([account, greet, flaky])
        await app.start()
        await app.send(account, "a", Open("nobody"))
        while not ({"dead letters", "backlog"} <= {one.check for one in await look(app) if "handler" in one.what}):
            await app.system.store.wait(None, 1.0)
        await app.stop()
        app = site.app([account, greet, flaky])
        await app.open_only()
        findings = await look(app, now=clock.now() + 10_000_000_000)
        assert [one for one in wrong(findings) if one[0] in {"dead letters", "backlog"}] == [
            ("dead letters", WARN, "handler.greet has 1"),
            ("backlog", WARN, "handler.flaky: 1 item to do, 1 of them overdue by more than a minute"),
        ]
        assert "backlog" not in {check for check, _, _ in wrong(await look(app, now=1))}
        monkeypatch.setattr(limits, "PARKED", 1)
        (full,) = [one for one in wrong(await look(app, now=1)) if one[0] == "backlog"]
        assert full[2].endswith("at 1 it stops reading")
        await app.stop()

    asyncio.run(main())


def test_kinds_that_no_part_knows_and_events_that_do_not_decode(site):
    @event("account.opened")
    class Changed:
        name: str

    @projection("changed")
    def changed(row: int | None, event: Changed) -> int:
        return 1

    async def main():
        async with site.app([account]) as app:
            await app.send(account, "a", Open("a"))
            await app.send(account, "a", Deposit(5))
        other = site.app([changed])
        await other.open_only()
        if site.url != "memory:":  # a memory store keeps the kinds of the app that made it
            findings = [one for one in wrong(await look(other, KINDS, ["view.old.1"])) if one[0] != "leases"]
            assert findings[0] == (
                "kinds",
                WARN,
                "account.deposited version 1 of account: no listed part names it",
            ) or findings[1][:2] == ("kinds", WARN)
            (fail,) = [what for _, state, what in findings if state == FAIL]
            assert fail.startswith("account-a@1 (position 1):")
        tables = [
            one for one in wrong(await look(other, [], ["view.old.1", "inbox", changed.table])) if one[0] == "tables"
        ]
        assert [what.partition(":")[0] for _, _, what in tables] == ["view.old.1"]
        await other.stop()

    asyncio.run(main())


def test_folds_that_fail_or_are_slow(site, monkeypatch):
    @projection("fails")
    def fails(row: int | None, event: Opened) -> int:
        if event.owner == "b":
            raise ValueError("no b")
        return 1

    @projection("slow")
    def slow(row: int | None, event: Opened) -> int:
        clock[0] += 0.5
        return 1

    clock = [0.0]
    monkeypatch.setattr("foldlog.flow.checkup.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    async def main():
        async with site.app([account]) as app:
            for key in "abcdefgh":
                await app.send(account, key, Open(key))
        other = site.app([account, fails, slow])
        await other.open_only()
        findings = [one for one in wrong(await look(other)) if one[0] == "folds"]
        assert findings == [
            ("folds", WARN, "view.fails.1 fails on account-b@1: ValueError: no b"),
            ("folds", WARN, "view.slow.1 takes 500.0 ms an event: a rebuild does 2 a second"),
        ]
        assert clock[0] == 2.5  # it stops after FOLD_TIME
        await other.stop()

    asyncio.run(main())


def test_a_fork_says_where_it_comes_from(site):
    async def main():
        async with site.app([account]) as app:
            await app.system.store.commit(Batch(rows=[Fork("old", 1, 7).row()]))
            (log,) = [one for one in await look(app) if one.check == "log"]
            assert log.what.endswith("epoch 1, forked from log old at position 7")

    asyncio.run(main())


def test_a_checksum_that_is_wrong_is_no_fault_of_a_fold(site):
    def broken(state: int, event: Opened) -> int:
        raise Corrupt("a page")

    def decide(command: Open, state: int) -> list[Opened]:
        return []

    async def main():
        async with site.app([account]) as app:
            await app.send(account, "a", Open("a"))
        other = site.app([Decider("account", decide, broken, initial=0)])
        await other.open_only()
        with pytest.raises(Corrupt, match="a page"):
            await look(other)
        await other.stop()

    asyncio.run(main())


def test_indexes_that_were_changed_without_a_new_version(site):
    def last(row: Opened | None, event: Opened) -> Opened:
        return event

    async def main():
        async with site.app([account, projection("last")(last)]) as app:
            await app.settle()
        other = site.app([account, projection("last", indexes=("owner",))(last)])
        await other.open_only()
        (finding,) = [one for one in await look(other) if one.state == FAIL]
        assert finding.check == "tables"
        assert finding.what == (
            "view.last.1 was made with the indexes () and this code declares (owner): it cannot run"
        )
        assert "version=2" in finding.next
        await other.stop()

    asyncio.run(main())
