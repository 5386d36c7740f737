"""How functions stand: what lies behind their checkpoints, what waits, who runs them and how they do there."""

import asyncio

import msgspec
import pytest

from foldlog import Backoff, Breaker, Context, Recorded, Retry, handler, limits, projection
from foldlog.flow.inbox import READY, Item
from foldlog.flow.lease import CHECKPOINTS, Checkpoint, checkpoint_key
from foldlog.flow.members import MEMBERS, Member, Vitals
from foldlog.flow.standing import Count, Lag, standings
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, Put, RowKey
from tests.unit.bank import Deposit, Deposited, Open, Opened, account, balances
from tests.unit.site import Site, kill, until

NOTHING = Count(0)


async def standing(app, name=""):
    """How the functions of an app stand, by name; or that of one."""
    system = app.system
    found = {one.function: one for one in await standings(system.store, system.functions(), system.clock.now())}
    return found[name] if name else found


async def beat(app):
    await app._worker._members.beat()  # noqa: SLF001  # now, instead of within seconds


async def opened(app, *keys):
    for key in keys:
        await app.send(account, key, Open("Ann"))


@handler("greet")
async def greet(event: Opened) -> None:
    pass


@handler("late", start="new")
async def late(event: Opened) -> None:
    pass


def test_before_the_first_run_everything_lies_before_a_function_and_nobody_runs_it(site, clock):
    async def main():
        async with site.app([account, balances, greet, late]).open(functions=False) as app:
            assert {one.lag for one in (await standing(app)).values()} == {Lag(NOTHING, 0)}
            await opened(app, "1", "2")
            clock.advance(5)
            await app.send(account, "1", Deposit(7))
            clock.advance(1.5)
            found = await standing(app)
            assert list(found) == ["view.balances.1", "handler.greet", "handler.late"]
            assert found["view.balances.1"].lag == Lag(Count(3), 6.5)
            greeting = found["handler.greet"]
            assert greeting.lag == Lag(Count(2), 6.5)
            assert found["handler.late"].lag == Lag(NOTHING, 0)  # it will begin with what is new
            assert (greeting.position, greeting.free, greeting.processes) == (None, 16, [])
            assert (greeting.backlog, greeting.dead) == (NOTHING, NOTHING)

    asyncio.run(main())


def test_what_is_done_is_no_lag_though_the_checkpoints_of_idle_partitions_stay_behind(site):
    async def main():
        app = site.app([account, balances, greet])
        async with app:
            await opened(app, "1", "2", "3")
            await app.send(account, "1", Deposit(7))
            await app.settle()
            await beat(app)
            found = await standing(app)
            assert {one.lag for one in found.values()} == {Lag(NOTHING, 0)}
            (view,), (greeting,) = (one.processes for one in found.values())
            assert (view.partitions, greeting.partitions) == (16, 16)
            assert (view.vitals.done, greeting.vitals.done) == (4, 3)
            assert (view.vitals.breaker, greeting.vitals.breaker) == (None, 0)
            assert view.owner == app.system.owner
            assert all(one.free == 0 for one in found.values())

    asyncio.run(main())


def test_lag_is_what_its_own_partition_has_not_passed(site, clock):
    gate = asyncio.Event()

    @handler("slow")
    async def slow(event: Opened, ctx: Context) -> None:
        if ctx.recorded.key == "1":
            await gate.wait()

    async def main():
        async with site.app([account, slow]) as app:
            await opened(app, "1")
            clock.advance(3)
            await opened(app, *map(str, range(2, 30)))
            runner = app.runner("handler.slow")
            await until(lambda: runner.progress.done == 28)
            while (found := await standing(app, "handler.slow")).lag.events.number > 10:
                await app.system.store.wait(None, limits.WATCH_MAX)
            assert found.lag.seconds == 3  # only what shares the partition with the first waits behind its checkpoint
            gate.set()
            await app.settle()
            assert (await standing(app, "handler.slow")).lag == Lag(NOTHING, 0)

    asyncio.run(main())


def test_counting_ends_at_limits(site, monkeypatch):
    monkeypatch.setattr(limits, "PAGE", 2)
    monkeypatch.setattr(limits, "LAG", 3)
    monkeypatch.setattr(limits, "BACKLOG", 4)

    async def main():
        async with site.app([account, greet]).open(functions=False) as app:
            for number, counted in ((2, Count(2)), (3, Count(3)), (6, Count(4, more=True))):
                await opened(app, *map(str, range(number)))
                assert (await standing(app, "handler.greet")).lag.events == counted
            items = [Item("handler.greet", position, 0, "k") for position in range(1, 7)]
            await app.system.store.commit(Batch(rows=[item.put() for item in items]))
            assert (await standing(app, "handler.greet")).backlog == Count(4, more=True)
            for item in items:
                item.status = "dead"
            await app.system.store.commit(Batch(rows=[item.put() for item in items]))
            found = await standing(app, "handler.greet")
            assert (found.backlog, found.dead) == (Count(0, more=True), Count(4, more=True))

    asyncio.run(main())


def test_looking_ends_where_almost_nothing_is_behind_its_own_partition(site, monkeypatch):
    monkeypatch.setattr(limits, "PAGE", 2)
    monkeypatch.setattr(limits, "LAG_LOOKED", 4)

    async def main():
        async with site.app([account, greet]).open(functions=False) as app:
            await opened(app, *map(str, range(9)))
            store = app.system.store
            marks = [
                Put(CHECKPOINTS, checkpoint_key("handler.greet", number), at(store, 9 if number else 0))
                for number in range(16)
            ]
            await store.commit(Batch(rows=marks))
            assert (await standing(app, "handler.greet")).lag.events.more

    asyncio.run(main())


def at(store, position, log="", owner="", end=0):
    identity = store.identity
    return msgspec.json.encode(Checkpoint(position, owner, end, log or identity.log, identity.epoch))


def test_keys_that_cannot_be_told_and_bodies_that_cannot_be_read_are_counted(site):
    def bad(event):
        raise RuntimeError("no key")

    greeter = handler("greet", key=lambda event: event.owner)(greet.function)
    keyed = projection("keyed", key=lambda event: [event.owner, "all"])(balances.fold)
    broken = projection("broken", key=bad)(balances.fold)
    wrapped = handler("wrapped", key=bad)(greet.function)

    async def main():
        async with site.app([account, greeter, keyed, broken, wrapped]).open(functions=False) as app:
            await opened(app, "1")
            await app.system.store.commit(Batch([Append("account-2", [Draft("account.opened", 1, b'{"owner":7}')])]))
            assert {one.lag.events for one in (await standing(app)).values()} == {Count(2)}
        async with site.app([account, greeter, keyed, broken, wrapped]) as app:
            await until(lambda: all(app.runner(f"handler.{name}").progress.done for name in ("greet", "wrapped")))
            while any(one.lag.events.number for one in (await standing(app)).values()):
                await app.system.store.wait(None, limits.WATCH_MAX)

    asyncio.run(main())


def test_what_waits_what_is_dead_and_what_failed(url):
    @handler("flaky", retry=Backoff(attempts=2, first=0))
    async def flaky(event: Opened, ctx: Context) -> Retry | None:
        if event.owner == "dead":
            raise RuntimeError("no")
        return None if ctx.attempt > 1 or event.owner == "good" else Retry(0)

    @handler("held")
    async def held(event: Opened, ctx: Context) -> Retry:
        return Retry(86_400)

    async def main():
        async with Site(url).app([account, flaky, held]) as app:  # a clock that does not jump to the retry
            for key, owner in (("1", "dead"), ("2", "once"), ("3", "good")):
                await app.send(account, key, Open(owner))
            flaked, holding = (app.runner(f"handler.{name}") for name in ("flaky", "held"))
            await until(lambda: (flaked.progress.done, flaked.progress.failed, holding.progress.failed) == (2, 3, 3))
            await until(lambda: (flaked.vitals().waiting, holding.vitals().waiting) == (1, 3))
            while not (await standing(app, "handler.flaky")).dead.number:
                await app.system.store.wait(None, limits.WATCH_MAX)
            await beat(app)
            found = await standing(app)
            vitals = found["handler.flaky"].processes[0].vitals
            assert (vitals.done, vitals.failed, vitals.retried, vitals.waiting) == (2, 3, 2, 1)
            assert (found["handler.flaky"].dead, found["handler.flaky"].backlog) == (Count(1), NOTHING)
            assert (found["handler.held"].dead, found["handler.held"].backlog) == (NOTHING, Count(3))

    asyncio.run(main())


def test_a_fold_that_fails_counts_as_failed_and_the_rows_that_are_parked_are_not_done(site):
    @projection("picky")
    def picky(row: int | None, event: Deposited) -> int:
        if event.amount == 13:
            raise RuntimeError("bad luck")
        return event.amount

    async def main():
        async with site.app([account, picky]) as app:
            await opened(app, "1", "2")
            for key, amount in (("1", 13), ("2", 1), ("1", 1), ("2", 2)):
                await app.send(account, key, Deposit(amount))
                await app.settle()
            await beat(app)
            found = await standing(app, "view.picky.1")
            assert (found.processes[0].vitals.done, found.processes[0].vitals.failed) == (2, 1)
            assert found.dead == Count(1)

    asyncio.run(main())


def test_an_open_breaker_is_told_by_a_heartbeat_of_its_own(url):
    @handler("mail", breaker=Breaker(keys=2, rate=1, pause=60))
    async def mail(event: Opened) -> None:
        raise ConnectionError("down")

    async def main():
        async with Site(url).app([account, mail], lease=60) as app:  # by itself it beats every 20 seconds
            while not (found := await standing(app, "handler.mail")).processes:
                await app.system.store.wait(None, limits.WATCH_MAX)
            assert found.processes[0].vitals.breaker == 0
            async with asyncio.timeout(10):
                await opened(app, "1", "2", "3")
                while not (found := await standing(app, "handler.mail")).processes[0].vitals.breaker:
                    await app.system.store.wait(None, limits.WATCH_MAX)
            assert found.processes[0].vitals.breaker == app.runner("handler.mail").circuit.until

    asyncio.run(main())


def test_processes_are_listed_with_their_shares_until_their_leases_have_run_out(site, clock):
    async def main():
        one, two = (site.app([account, greet], lease=30) for _ in range(2))
        await one.start()
        await two.start()
        try:
            await until(lambda: all(len(app.runner("handler.greet").held) == 8 for app in (one, two)))
            await opened(one, *map(str, range(40)))
            await one.settle()
            await two.settle()
            for app in (one, two):
                await beat(app)
            found = await standing(one, "handler.greet")
            assert {process.owner: process.partitions for process in found.processes} == {
                one.system.owner: 8,
                two.system.owner: 8,
            }
            assert sum(process.vitals.done for process in found.processes) == 40
            assert all(process.vitals.done for process in found.processes)
        finally:
            await kill(two)  # and the first with it: their tasks are one loop's
        async with site.app([account, greet], lease=30).open(functions=False) as app:
            assert (await standing(app, "handler.greet")).free == 0  # nobody else may take them yet
            clock.advance(31)
            found = await standing(app, "handler.greet")
            assert (found.free, found.processes) == (16, [])

    asyncio.run(main())


def test_members_of_other_code_and_checkpoints_of_another_log(site, clock):
    async def main():
        async with site.app([account, greet]).open(functions=False) as app:
            store, end = app.system.store, clock.now() + 10_000_000
            old = msgspec.json.encode({"since": 1, "until": end, "functions": ["view.balances.7", "handler.greet"]})
            dead = msgspec.json.encode(Member(1, clock.now(), ("handler.gone",)))
            mark = Put(CHECKPOINTS, checkpoint_key("handler.greet", 3), at(store, 1, "another", "o", end))
            rows = [Put(MEMBERS, RowKey("", name), value) for name, value in (("o", old), ("d", dead))]
            await store.commit(Batch(rows=[*rows, mark]))
            found = await standing(app)
            assert list(found) == ["handler.greet", "view.balances.7"]
            assert (found["handler.greet"].lag, found["view.balances.7"].lag) == (None, None)
            assert [(one.owner, one.partitions, one.vitals) for one in found["handler.greet"].processes] == [
                ("o", 1, Vitals())
            ]
            assert (found["handler.greet"].free, found["view.balances.7"].free) == (15, 16)

    asyncio.run(main())


def test_an_app_without_functions(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            assert await standing(app) == {}
        async with site.app([]).open(functions=False) as app:
            assert await standing(app) == {}

    asyncio.run(main())


@pytest.mark.parametrize("status", [READY, "done", "dead", "discarded"])
def test_only_rows_that_are_ready_wait(site, status):
    async def main():
        async with site.app([account, greet]).open(functions=False) as app:
            rows = [Item("handler.greet", 1, 0, "k", status=status).put(), Item("handler.greeter", 1, 0, "k").put()]
            await app.system.store.commit(Batch(rows=rows))
            found = await standing(app, "handler.greet")
            assert (found.backlog.number, found.dead.number) == (status == READY, status == "dead")

    asyncio.run(main())


def test_recorded_types_need_no_decoding(site):
    @projection("seen")
    def seen(row: int | None, event: Recorded[Opened]) -> int:
        return event.position

    async def main():
        async with site.app([account, seen]).open(functions=False) as app:
            await app.system.store.commit(Batch([Append("account-2", [Draft("account.opened", 1, b"{}")])]))
            assert (await standing(app, "view.seen.1")).lag.events == Count(1)

    asyncio.run(main())


def test_a_function_that_stopped_for_good_is_seen_with_the_reason(site):
    async def main():
        app = site.app([account, balances, greet])

        def fail(link, batch):
            if any(change.table.name == balances.table for change in batch.rows):
                raise ZeroDivisionError("a bug\nand more")

        app.link.before = fail
        async with app:
            await opened(app, "1")
            with pytest.raises(ZeroDivisionError):
                await app.settle()
            await until(lambda: not app._worker._members._functions.keys() & {balances.table})  # noqa: SLF001  # told to nobody else
            await beat(app)
            (process,) = (await standing(app, balances.table)).processes
            assert (process.vitals, process.stopped) == (None, "ZeroDivisionError: a bug")
            (process,) = (await standing(app, "handler.greet")).processes
            assert (process.vitals is not None, process.stopped) == (True, "")

    asyncio.run(main())
