"""What must hold for processes, their commands and schedules when answers get lost and owners change midway."""

import asyncio
import signal

import pytest

from foldlog import App, Backoff, Decider, Rejected, Send, Unavailable, command, event, handler, limits, projection
from foldlog.errors import Corrupt
from foldlog.flow import instances
from foldlog.flow.orchestrate import Orchestration, decode
from foldlog.model.message import Kind, Recorded
from foldlog.ports.store import RowKey
from foldlog.process import Accepted, Cancelled, Process, Schedule
from foldlog.testing.clock import FakeClock
from tests.unit.bank import Deposit, Deposited, Open, Opened, account
from tests.unit.site import Site, kill, turns, until
from tests.unit.test_letting_go import Run, of_partition, opened
from tests.unit.test_outbox import Write, Written, fill, note
from tests.unit.test_schedule import HOUR, hourly, made, maker


@event("file.came")
class Came:
    size: int


@command("file.bring")
class Bring:
    size: int


@command("box.fill")
class Fill:
    text: str
    name: str


@event("box.filled")
class Filled:
    size: int


def tally():
    """Counts what comes for each key."""

    def evolve(state: int | None, event: Opened | Deposited) -> int:
        return (state or 0) + 1

    def react(event: Opened | Deposited, state: int) -> None:
        return None

    return Process("tally", react, evolve, initial=None)


def test_a_command_that_took_effect_stays_out_of_the_outbox_when_its_next_attempt_fails(site, monkeypatch):
    lost, tries = [], []
    decide = note.decide

    @handler("insists", retry=Backoff(5, 1, 1))
    async def insists(event: Opened) -> Send:
        return Send("note", "a", Write("once"), insist=True)

    def fails_after_that(command, state):
        tries.append(state)
        if len(tries) == 2:
            raise RuntimeError("something that is over soon")
        return decide(command, state)

    async def main():
        app = site.app([account, note, insists])
        monkeypatch.setattr(note, "decide", fails_after_that)

        def lose(link, batch):
            if batch.appends and batch.appends[0].stream == "note-a" and not lost:
                lost.append(batch)
                raise Unavailable("nobody knows what became of it")

        app.link.after = lose
        async with app:
            await fill(app, "a", 0)
            await app.settle()
            assert len(lost) == 1
            assert len(tries) >= 2
            assert await app.get(note, "a") == 1
            assert not await app.dead_letters()

    asyncio.run(main())


@pytest.mark.parametrize("caller", ["goes", "stays"])
def test_what_follows_a_page_that_was_ended_is_folded_after_what_it_came_to_is_stored(caller, clock, monkeypatch):
    monkeypatch.setattr(limits, "STOP", 0)

    async def main():
        (stays,), (goes,) = of_partition(0, 1), of_partition(1, 1)
        app = Site(clock=clock).app([account, tally()])
        async with app.open(functions=False):
            await opened(app, [goes, stays] if caller == "goes" else [stays, goes])
            run, gate, asked = Run(app), asyncio.Event(), []
            commit = run.lease.commit

            async def slow(rows, positions):
                asked.append(positions)
                await gate.wait()
                await commit(rows, positions)

            monkeypatch.setattr(run.lease, "commit", slow)
            await run.begin([0, 1])
            await until(lambda: asked)
            leaving = asyncio.create_task(run.work.leave([1]))
            await turns()
            await app.send(account, stays, Deposit(1))
            await turns(200)
            gate.set()
            await run.lease.release(await leaving)
            await until(lambda: run.work.settled(3))
            process = app.system.processes["tally"]
            rows = await app.system.store.get(process.table, [RowKey("", stays)])
            assert decode(rows[RowKey("", stays)]).steps == 2
            await run.end()

    asyncio.run(main())


@pytest.mark.parametrize("function", ["decide", "evolve", "scope", "fold"])
def test_what_only_a_store_may_say_is_a_failed_attempt_where_another_says_it(function, clock, monkeypatch):
    tries = []

    @handler("writer", retry=Backoff(3, 1, 1))
    async def writer(event: Opened) -> Send:
        return Send("note", "a", Write("once"))

    @projection("texts", inline=True)
    def texts(row: int | None, event: Written) -> int:
        return 1

    def fails(*_):
        tries.append(1)
        raise Unavailable("the oracle sleeps")

    async def main():
        async with Site(clock=clock).app([account, note, writer, texts]) as app:
            monkeypatch.setattr(texts if function == "fold" else note, function, fails)
            await fill(app, "a", 0)
            await app.settle()
            (letter,) = await app.dead_letters()
            assert (len(tries), letter.attempts) == (3, 3)
            assert "the oracle sleeps" in letter.error
            assert f"{function} of " in letter.error
            with pytest.raises(RuntimeError, match="only the store says so"):
                await app.send(note, "a", Write("twice"))

    asyncio.run(main())


def test_keys_that_have_no_order_are_numbered_the_same_in_every_process():
    @event("guests.came")
    class Came:
        names: list[str]

    def evolve(state: int | None, event: Came) -> int:
        return (state or 0) + 1

    def react(event: Came, state: int) -> None:
        return None

    names = [f"guest{number}" for number in range(30)]
    party = Process("party", react, evolve, None, lambda event: set(event.names))
    orchestration = Orchestration(party)
    kind = Kind("guests", "guests.came", 1, "json", lambda _: Came(names))
    assert list(orchestration.own_keys(Recorded(1, "", "guests-g", 1, kind, 0, b"", b""))) == sorted(names)


def test_a_program_with_a_schedule_is_served(url):
    ready = []
    part, _ = maker()

    async def main():
        def on_ready():
            ready.append(True)
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)

        await App(url, [account, tally(), part, hourly()]).serve(on_ready)
        await App(url, [account, tally(), part, hourly()]).serve(on_ready)
        await App(url, [part, hourly()]).serve(on_ready)

    asyncio.run(main())
    assert ready == [True, True, True]


def test_serve_tells_which_schedule_has_stopped_and_ends_with_the_last():
    seen = []
    part, _ = maker({"01:00": Corrupt("the log is broken")})

    async def main():
        clock = FakeClock()
        app = App("memory:", [part, hourly()], clock=clock)

        async def later():
            await app.settle()
            clock.advance(HOUR)

        def on_ready():
            seen.append(asyncio.create_task(later()))

        with pytest.raises(Corrupt, match="broken"):
            await app.serve(on_ready, stopped=lambda name, why: seen.append((name, type(why))))

    asyncio.run(main())
    assert seen[1:] == [("schedule.hourly", Corrupt)]


def test_attempts_for_a_time_that_another_process_made_do_not_count_for_the_next():
    clock = FakeClock()
    fails = {"01:00": OSError("down"), "02:00": OSError("down")}
    first, tries = maker(fails)
    second, _ = maker()

    async def main():
        site = Site(clock=clock)
        options = {"retry": Backoff(2, 60, 60)}
        app, other = site.app([first, hourly(**options)]), site.app([second, hourly(**options)])
        await app.start()
        await app.settle()
        clock.advance(HOUR)
        await until(lambda: tries)
        await other.start()
        await other.settle()
        await other.stop()
        assert await made(app) == ["01:00"]
        clock.advance(HOUR / 2)
        await app.settle()
        del tries[:]
        clock.advance(HOUR / 2)
        await app.settle()
        assert tries == ["02:00", "02:00"]
        await app.stop()

    asyncio.run(main())


@pytest.mark.parametrize("missed", [False, True])
def test_a_schedule_that_was_given_other_times_keeps_to_them_from_now_on(site, clock, missed):
    part, _ = maker()
    daily = Schedule("hourly", 24 * HOUR, hourly().send)

    async def main():
        async with site.app([part, daily]) as app:
            await app.settle()
        clock.advance((25 if missed else 0.5) * HOUR)
        async with site.app([part, hourly()]) as app:
            await app.settle()
            assert await made(app) == (["01:00"] if missed else [])
            clock.advance(HOUR)
            await app.settle()
            assert await made(app) == (["01:00", "02:00"] if missed else ["01:00"])
            clock.advance(HOUR / 4)
        async with site.app([part, daily]) as app:
            await app.settle()
            clock.advance(2 * HOUR)
            await app.settle()
            assert len(await made(app)) == (2 if missed else 1)  # that hour is not one of its times
            clock.advance(24 * HOUR)
            await app.settle()
            assert (await made(app))[-1] == "00:00"

    asyncio.run(main())


def test_a_command_that_an_owner_of_before_sends_late_takes_effect_once(site, clock, monkeypatch):
    decide, late, tries = note.decide, [], []

    @handler("insists", retry=Backoff(5, 1, 1))
    async def insists(event: Opened) -> Send:
        return Send("note", "a", Write("once"))

    def fails_for_the_next_owner(command, state):
        tries.append(state)
        if len(tries) == 2:
            raise RuntimeError("something that is over soon")
        return decide(command, state)

    def dies(link, batch):
        if batch.appends and batch.appends[0].stream == "note-a":
            late.append(batch)
            link.dead = True

    async def main():
        app, again = (site.app([account, note, insists]) for _ in range(2))
        app.link.before = dies
        await app.start()
        await opened(app, ["a"])
        await until(lambda: late)
        monkeypatch.setattr(note, "decide", fails_for_the_next_owner)
        tries.append(0)
        await kill(app)
        clock.advance(60)
        commit = again.link.commit

        async def after_what_comes_late(batch):
            if len(tries) == 2 and late and any(b'"attempts":1' in getattr(row, "value", b"") for row in batch.rows):
                await again.link.inner.commit(late.pop())
            return await commit(batch)

        again.link.commit = after_what_comes_late
        async with again:
            await again.settle()
            assert not late
            assert await again.get(note, "a") == 1
            assert not await again.dead_letters()

    asyncio.run(main())


@pytest.mark.parametrize("hears", [True, False])
@pytest.mark.parametrize("text", ["ok", "refused"])
@pytest.mark.parametrize("over", [0, 1])
def test_a_large_command_is_sent_and_answered_or_its_limit_is_named(hears, text, over, site):
    most = limits.ANSWERED_BYTES if hears else limits.EVENT_BYTES

    def evolve(state: int, event: Came | Accepted | Rejected) -> int | None:
        return state if isinstance(event, Came) else None

    def react(event: Came | Accepted | Rejected, state: int) -> Send | None:
        if not isinstance(event, Came):
            return None
        empty = len(b'{"text":"","name":""}')
        return Send("box", "a", Fill(text, "x" * (event.size - empty - len(text))))

    def decide(command: Fill, state: int) -> list[Filled]:
        if command.text == "refused":
            raise Rejected("box.full", "m" * 10_000, ["d" * 40_000])
        return [Filled(len(command.name))]

    def add(state: int, event: Filled) -> int:
        return state + 1

    on = [Came, Accepted, Rejected] if hears else [Came]
    part = Process("filling", react, evolve, initial=0, on=on, state=int | None)
    files = Decider("file", lambda command, state: [Came(command.size)], lambda state, event: state, 0)
    files.decide.__annotations__.update(command=Bring, state=int)
    files.evolve.__annotations__.update(event=Came)

    async def main():
        async with site.app([files, Decider("box", decide, add, initial=0), part]) as app:
            await app.send(files, "1", Bring(most + over))
            await app.settle()
            letters = await app.dead_letters()
            if over:
                assert [(one.type, one.command) for one in letters] == [("file.came", "")]
                assert (f"at most {most:,} where it hears" if hears else "limit") in letters[0].error
            elif text == "refused" and not hears:
                assert [one.command for one in letters] == ["box.fill"]
            else:
                assert letters == []
                assert await app.get(app.system.decisions["box"].decider, "a") == (text == "ok")
                answers = [one.type async for one in app.read("filling-1")]
                assert answers == ([f"foldlog.{'accepted' if text == 'ok' else 'rejected'}"] if hears else [])

    asyncio.run(main())


def test_an_answer_is_given_up_together_with_the_word_of_it_and_once(site):
    def evolve(state: int, event: Opened | Accepted | Cancelled) -> int | None:
        if isinstance(event, Accepted):
            raise TypeError("it cannot take that")
        return None if isinstance(event, Cancelled) else 1

    def react(event: Opened | Accepted | Cancelled, state: int | None) -> Send | None:
        return Send("note", "a", Write("once")) if isinstance(event, Opened) else None

    def breaks(link, batch):
        if batch.appends:
            raise Unavailable("the line broke")

    waits = Process("waits", react, evolve, initial=0, state=int | None, retry=Backoff(1, 1, 1))

    async def main():
        async with site.app([account, note, waits]) as app:
            await app.send(account, "a", Open("ann"))
            await app.settle()
            (letter,) = await app.dead_letters()
            assert letter.type == "foldlog.accepted"
        async with site.app([account, note, waits]).open(functions=False) as app:
            store, process = app.system.store, app.system.processes["waits"]
            app.link.before = breaks
            with pytest.raises(Unavailable, match="the line broke"):
                await instances.cancel(store, process, "a")
            assert await app.dead_letters() == [letter]
            app.link.before = lambda link, batch: None
            assert sorted(await asyncio.gather(*[instances.cancel(store, process, "a") for _ in range(3)])) == [0, 0, 1]
            told = [one.data.lost async for one in app.read("waits-a") if one.type == "foldlog.cancelled"]
            assert sorted(told) == ["", "", "accepted"]
        async with site.app([account, note, waits]) as app:
            await app.settle()
            assert await app.dead_letters() == []
            assert await app.system.store.get(process.table, [RowKey("", "a")]) == {}, "it has ended"

    asyncio.run(main())
