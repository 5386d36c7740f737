"""What a handler's events see of its circuit breaker: they wait, no attempt is counted, and probes let them go on."""

import asyncio
import logging

import pytest

from foldlog import Backoff, Breaker, Conflict, Context, DeadLetter, Recorded, Retry, handler
from foldlog.flow import inbox
from foldlog.flow.breaker import CLOSED, HALF_OPEN, OPEN
from tests.unit.bank import Deposit, Deposited, Open, Opened, account
from tests.unit.site import Site, quiet, turns, until

QUICK = Breaker(keys=4, rate=0.5, window=60, pause=5, ceiling=15, probes=2)
PATIENT = Breaker(keys=4, rate=0.5, window=60, pause=60, ceiling=300, probes=2, patience=3600)


class Outside:
    """What a handler calls: up or down."""

    def __init__(self):
        self.down = True
        self.calls = []

    def call(self, event, ctx):
        self.calls.append((ctx.recorded.key, ctx.attempt))
        if self.down:
            raise ConnectionError("nobody answers")


async def opened(app, count):
    for number in range(count):
        await app.send(account, f"{number:03}", Open("x"))


def test_while_the_outside_is_down_events_wait_and_no_attempt_is_counted(site, clock, caplog):
    outside = Outside()

    @handler("mail", retry=Backoff(3, 1, 5), concurrency=4, breaker=QUICK)
    async def mail(event: Opened, ctx: Context) -> None:
        outside.call(event, ctx)

    async def main():
        async with site.app([account, mail]).open(functions=False) as app:
            await opened(app, 100)
        async with site.app([account, mail]) as app:
            start = clock.now()
            await until(lambda: clock.now() > start + 3 * 3600 * 1_000_000)  # hours
            circuit = app.runner("handler.mail").circuit
            assert circuit.state in {OPEN, HALF_OPEN}
            assert await app.dead_letters(mail) == []
            tried = {key for key, attempt in outside.calls if attempt == 1}
            assert len(tried) == 100  # each had its turn as a probe
            rows = [item async for item in inbox.items(app.system.store, "handler.mail")]
            assert len([item for item in rows if item.attempts]) <= 8  # those that were under way when it opened
            outside.down = False
            outside.calls.clear()
            await app.settle()
            assert circuit.state == CLOSED
            assert {key for key, _ in outside.calls} == {f"{number:03}" for number in range(100)}
            assert len(outside.calls) == 100
            assert await app.dead_letters(mail) == []

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    told = [record.getMessage() for record in caplog.records]
    assert any(one.startswith("handler.mail: its breaker is open, events wait for 5 seconds") for one in told)
    assert told[-1] == "handler.mail: its breaker is closed again"
    assert "ConnectionError: nobody answers" in caplog.text


class Buggy:
    """A handler that fails for good on the first event of some keys."""

    def __init__(self, site, clock, after_dead, count, broken):
        self.site, self.count = site, count
        self.tried, self.seen = [], {}
        start = clock.now()

        @handler("mail", retry=Backoff(3, 1, 1), breaker=PATIENT, after_dead=after_dead)
        async def mail(event: Opened | Deposited, ctx: Context) -> None:
            key, now = ctx.recorded.key, (clock.now() - start) / 1e6
            if isinstance(event, Opened) and int(key) < broken:
                self.tried.append((now, ctx.attempt))
                raise AttributeError("'Opened' has no 'mail'")
            self.seen[key, ctx.recorded.version] = now

        self.handler = mail

    async def letters(self):
        """What is dead once all has settled."""
        async with self.site.app([account, self.handler]).open(functions=False) as app:
            await opened(app, self.count)
            for number in range(self.count):
                await app.send(account, f"{number:03}", Deposit(1))
        async with self.site.app([account, self.handler]) as app:
            await app.settle()
            return {(one.key, one.version, one.attempts) for one in await app.dead_letters(self.handler)}


@pytest.mark.parametrize("after_dead", ["wait", "go on"])
def test_a_bug_that_looks_like_an_outage_ends_in_dead_letters(after_dead, clock, caplog):
    buggy = Buggy(Site(clock=clock), clock, after_dead, 40, 40)
    letters = asyncio.run(buggy.letters())
    keys = [f"{number:03}" for number in range(40)]
    assert letters == {(key, 1, 3) for key in keys}
    assert sorted(buggy.seen) == ([(key, 2) for key in keys] if after_dead == "go on" else [])
    last = [now for now, attempt in buggy.tried if attempt == 3]
    assert 3600 < min(last) < 3600 + 2 * 300  # an outage of an hour would have burned nothing
    assert max(last) < 3600 + 40 / 2 * 300 + 600  # two events in each round of five minutes
    assert "it has been open for 3,720 seconds, so failed attempts count: AttributeError" in caplog.text


def test_what_fails_for_good_beside_what_goes_right_ends_in_dead_letters_too(clock):
    buggy = Buggy(Site(clock=clock), clock, "go on", 40, 30)
    letters = asyncio.run(buggy.letters())
    assert letters == {(f"{number:03}", 1, 3) for number in range(30)}
    assert len(buggy.seen) == 50
    assert max(buggy.seen.values()) < 3 * 3600


def test_an_outage_longer_than_its_patience_costs_few_events_their_attempts(site, clock):
    outside = Outside()

    @handler("mail", retry=Backoff(3, 1, 5), concurrency=4, breaker=PATIENT)
    async def mail(event: Opened, ctx: Context) -> None:
        outside.call(event, ctx)

    async def main():
        async with site.app([account, mail]).open(functions=False) as app:
            await opened(app, 200)
        async with site.app([account, mail]) as app:
            start = clock.now()
            await until(lambda: clock.now() > start + 2 * 3600 * 1_000_000)
            letters = len(await app.dead_letters(mail))
            assert (
                0 < letters <= 8 + 2 * 3600 / 300
            )  # those that failed before it opened, and two events in each round of five minutes
            outside.down = False
            await app.settle()
            assert await app.replay(mail) >= letters
            await app.settle()
            assert await app.dead_letters(mail) == []

    asyncio.run(main())


def test_pages_are_worked_off_event_by_event_once_patience_is_over(site, clock):
    sizes = []

    @handler("mail", page=10, concurrency=2, retry=Backoff(2, 1, 1), breaker=PATIENT)
    async def mail(events: list[Opened]) -> None:
        sizes.append(len(events))
        raise AttributeError("no")

    async def main():
        async with site.app([account, mail]).open(functions=False) as app:
            await opened(app, 30)
        async with site.app([account, mail]) as app:
            circuit = app.runner("handler.mail").circuit
            await until(lambda: circuit.impatient)
            del sizes[:]
            await app.settle()
            assert set(sizes) == {1}
            assert len(await app.dead_letters(mail)) == 30

    asyncio.run(main())


def test_a_poison_key_alone_opens_nothing_and_holds_up_no_other(site, clock):
    seen = []

    @handler("mail", retry=Backoff(50, 0.1, 0.1), breaker=Breaker(keys=2, rate=0.6))
    async def mail(event: Opened, ctx: Context) -> None:
        if ctx.recorded.key == "000":
            raise ValueError("poison")
        seen.append(ctx.recorded.key)

    async def main():
        async with site.app([account, mail]) as app:
            await opened(app, 30)
            await app.settle()
            assert len(seen) == 29
            (letter,) = await app.dead_letters(mail)
            assert letter.attempts == 50
            assert app.runner("handler.mail").circuit.state == CLOSED

    asyncio.run(main())


def test_verdicts_open_nothing(site):
    @handler("mail", retry=Backoff(3, 1, 1), breaker=QUICK)
    async def mail(event: Opened, ctx: Context) -> DeadLetter | Retry:
        return Retry(1) if ctx.attempt < 3 and int(ctx.recorded.key) % 2 else DeadLetter("no")

    async def main():
        async with site.app([account, mail]) as app:
            await opened(app, 20)
            await app.settle()
            assert len(await app.dead_letters(mail)) == 20
            assert app.runner("handler.mail").circuit.state == CLOSED

    asyncio.run(main())


def test_switched_off_all_of_them_are_dead(site):
    outside = Outside()

    @handler("mail", retry=Backoff(2, 1, 1), breaker=None)
    async def mail(event: Opened, ctx: Context) -> None:
        outside.call(event, ctx)

    async def main():
        async with site.app([account, mail]) as app:
            await opened(app, 30)
            await app.settle()
            assert len(await app.dead_letters(mail)) == 30

    asyncio.run(main())


def test_stopping_while_it_is_open_ends_at_once_and_the_next_run_goes_on(site, clock):
    outside = Outside()

    @handler("mail", breaker=QUICK, concurrency=2)
    async def mail(event: Opened, ctx: Context) -> None:
        outside.call(event, ctx)

    async def main():
        async with site.app([account, mail]) as app:
            await opened(app, 20)
            await until(lambda: app.runner("handler.mail").circuit.state == OPEN)
            await turns()
        outside.down = False
        async with site.app([account, mail]) as app:
            await app.settle()
        assert {key for key, _ in outside.calls} == {f"{number:03}" for number in range(20)}

    asyncio.run(main())


def test_a_page_that_fails_is_no_sign_before_its_events_fail_alone(site):
    seen = []

    @handler("mail", page=50, concurrency=1, retry=Backoff(3, 1, 1), breaker=Breaker(keys=2, rate=0.6))
    async def mail(events: list[Recorded[Opened]]) -> None:
        if any(event.key == "031" for event in events):
            raise ValueError("poison")
        seen.extend(event.key for event in events)

    async def main():
        async with site.app([account, mail]).open(functions=False) as app:
            await opened(app, 50)
        async with site.app([account, mail]) as app:
            await app.settle()
            assert sorted(seen) == [f"{number:03}" for number in range(50) if number != 31]
            assert [letter.key for letter in await app.dead_letters(mail)] == ["031"]
            assert app.runner("handler.mail").circuit.state == CLOSED

    asyncio.run(main())


def test_pages_are_probed_by_single_events(site, clock):
    down, sizes = True, []

    @handler("mail", page=10, concurrency=1, retry=Backoff(3, 1, 1), breaker=QUICK)
    async def mail(events: list[Opened]) -> None:
        sizes.append(len(events))
        if down:
            raise ConnectionError("nobody answers")

    async def main():
        nonlocal down
        async with site.app([account, mail]).open(functions=False) as app:
            await opened(app, 40)
        async with site.app([account, mail]) as app:
            circuit = app.runner("handler.mail").circuit
            await until(lambda: circuit.state == OPEN)
            del sizes[:]
            start = clock.now()
            await until(lambda: clock.now() > start + 3600 * 1_000_000)
            assert set(sizes) == {1}
            down = False
            await app.settle()
            assert max(sizes) > 1
            assert await app.dead_letters(mail) == []

    asyncio.run(main())


def test_a_lost_lease_does_not_close_it(clock):
    outside = Outside()

    runner, lost = None, []

    @handler("mail", breaker=Breaker(keys=4, pause=300, ceiling=300))
    async def mail(event: Opened, ctx: Context) -> None:
        outside.call(event, ctx)

    def lose(link, batch):
        if (
            not lost
            and runner.circuit.state == OPEN
            and any(row.key.key.startswith("handler.mail/") for row in batch.rows)
        ):
            lost.append(True)
            raise Conflict("row checkpoints/handler.mail", 1, 2, row="checkpoints/handler.mail")

    async def main():
        nonlocal runner
        async with Site(clock=clock).app([account, mail]) as app:
            runner = app.runner("handler.mail")
            app.link.before = lose
            await opened(app, 10)
            await until(lambda: runner.circuit.state == OPEN)
            await until(lambda: lost)
            await until(lambda: runner.held)
            assert runner.circuit.state == OPEN
            outside.down = False
            await app.settle()
            assert {key for key, _ in outside.calls} == {f"{number:03}" for number in range(10)}

    asyncio.run(main())


def test_a_lease_lost_while_probes_run_gives_them_back(clock, caplog):
    outside, gate, lost = Outside(), asyncio.Event(), []

    @handler("mail", retry=Backoff(3, 1, 1), breaker=QUICK)
    async def mail(event: Opened, ctx: Context) -> DeadLetter | None:
        if ctx.recorded.key == "dead" and not lost:
            return DeadLetter("no")
        if outside.down:
            outside.call(event, ctx)
        await gate.wait()
        return None

    def lose(link, batch):
        lost.append(True)
        link.before = quiet
        raise Conflict("row checkpoints/handler.mail", 1, 2, row="checkpoints/handler.mail")

    async def main():
        async with Site(clock=clock).app([account, mail]) as app:
            await app.send(account, "dead", Open("x"))
            await app.settle()
            await opened(app, 20)
            runner = app.runner("handler.mail")
            await until(lambda: runner.circuit.state == OPEN)
            outside.down = False
            await until(lambda: runner.circuit.state == HALF_OPEN and runner.circuit.free() == 0)  # both probes run
            assert await app.replay(mail) == 1
            app.link.before = lose
            await until(lambda: lost and runner.held)
            gate.set()
            await app.settle()
            assert runner.circuit.state == CLOSED
            assert await app.dead_letters(mail) == []

    asyncio.run(main())
    assert "shutting down" not in caplog.text
