"""Schedules: a command every so often, once over all processes, with one for all that were missed."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from foldlog import Backoff, Decider, Rejected, Send, Unavailable, command, event
from foldlog.errors import Misconfigured
from foldlog.flow.recur import planned
from foldlog.process import Schedule
from foldlog.testing.clock import START, FakeClock
from tests.unit.site import Site, another, crash_at, kill, quiet, until

HOUR = 3_600


@event("report.made")
class Made:
    day: str


@command("report.make")
class Make:
    day: str


def maker(fails=()):
    tries = []

    def decide(command: Make, made: bool) -> list[Made]:
        tries.append(command.day)
        if command.day in fails:
            raise fails[command.day]
        return [Made(command.day)]

    def evolve(made: bool, event: Made) -> bool:
        return True

    return Decider("report", decide, evolve, initial=False), tries


def hourly(**options):
    return Schedule("hourly", HOUR, lambda due: Send("report", "r", Make(f"{due:%H:%M}")), **options)


async def made(app):
    return [one.data.day async for one in app.read("report-r")]


def test_it_is_sent_when_it_is_due_and_not_before(site, clock):
    part, _ = maker()

    async def main():
        async with site.app([part, hourly(offset=600)]) as app:
            await app.settle()
            assert await made(app) == []
            clock.advance(599)
            await app.settle()
            assert await made(app) == []
            clock.advance(1)
            await app.settle()
            assert await made(app) == ["00:10"]
            clock.advance(HOUR)
            await app.settle()
            assert await made(app) == ["00:10", "01:10"]
            (first, _) = [one async for one in app.read("report-r")]
            assert first.meta.command

    asyncio.run(main())


def test_what_was_missed_is_made_up_for_once(site, clock):
    part, _ = maker()

    async def main():
        async with site.app([part, hourly()]) as app:
            await app.settle()
        clock.advance(5.5 * HOUR)
        async with site.app([part, hourly()]) as app:
            await app.settle()
            assert await made(app) == ["05:00"]
            clock.advance(HOUR / 2)
            await app.settle()
            assert await made(app) == ["05:00", "06:00"]

    asyncio.run(main())


def test_of_many_processes_one_sends(site, clock):
    part, _ = maker()

    async def main():
        apps = [site.app([part, hourly()]) for _ in range(4)]
        for app in apps:
            await app.start()
            await app.settle()
        for number in range(1, 6):
            clock.advance(HOUR)
            for app in apps:
                await app.settle()
            assert len(await made(apps[0])) == number
        for app in apps:
            await app.stop()

    asyncio.run(main())


def test_a_refused_command_is_told_and_the_next_one_is_sent(site, clock, caplog):
    part, tries = maker({"01:00": Rejected("report.not-now", "closed")})

    async def main():
        async with site.app([part, hourly()]) as app:
            await app.settle()
            clock.advance(HOUR)
            await app.settle()
            found, _ = await planned(app.system.store, "hourly")
            assert "report.not-now: closed" in found.error
            clock.advance(HOUR)
            await app.settle()
            assert await made(app) == ["02:00"]
            assert tries == ["01:00", "02:00"]
            assert (await planned(app.system.store, "hourly"))[0].error == ""

    asyncio.run(main())
    assert "schedule.hourly: the command was refused: report.not-now: closed" in caplog.text


@pytest.mark.parametrize("failure", [ValueError("broken"), Unavailable("broken")], ids=repr)
def test_a_command_that_fails_is_tried_again_until_the_next_is_due(site, clock, failure):
    part, tries = maker({"01:00": failure})

    async def main():
        async with site.app([part, hourly(retry=Backoff(3, 1, 1))]) as app:
            await app.settle()
            clock.advance(HOUR)
            await app.settle()
            assert tries == ["01:00"] * 3
            assert "broken" in (await planned(app.system.store, "hourly"))[0].error
            clock.advance(HOUR)
            await app.settle()
            assert await made(app) == ["02:00"]

    asyncio.run(main())


@pytest.mark.parametrize("stored", [True, False])
def test_a_crash_at_any_commit_sends_it_once(url, clock, stored):
    part, _ = maker()

    async def attempt(number):
        site = Site(another(url, number), clock)
        app = site.app([part, hourly()])
        await app.start()
        await app.settle()
        clock.advance(HOUR)
        vars(app.link).update(crash_at(app.link.commits + number, stored=stored))
        sent = app._worker.schedules[0]  # noqa: SLF001 - it has no name of its own to wait for
        await until(lambda: app.link.dead or sent.settled())
        crashed = app.link.dead
        if crashed:
            await kill(app)
        else:
            app.link.before = app.link.after = quiet
            await app.stop()
        async with site.app([part, hourly()]) as again:
            await again.settle()
            assert len(await made(again)) == 1
        return crashed

    async def main():
        number = 1
        while await attempt(number):
            number += 1
        assert number > 1

    asyncio.run(main())


@pytest.mark.parametrize("daily_first", [True, False])
def test_while_code_with_other_times_runs_beside_it_the_times_of_both_are_kept_and_each_once(site, clock, daily_first):
    part, _ = maker()
    daily = Schedule("hourly", 24 * HOUR, hourly().send, offset=30 * 60)
    parts = [[part, daily], [part, hourly()]]

    async def main():
        clock.advance(22.25 * HOUR)
        apps = [site.app(one) for one in (parts if daily_first else reversed(parts))]
        for app in apps:
            await app.start()
            await app.settle()
        for _ in range(14):
            clock.advance(HOUR / 4)
            for app in apps:
                await app.settle()
        hours = ["23:00", "00:00", "00:30", "01:00"]
        assert await made(apps[0]) == hours
        await apps.pop(0 if daily_first else 1).stop()  # the deployment is over
        for _ in range(96):
            clock.advance(HOUR / 4)
            await apps[0].settle()
        later = [f"{hour % 24:02}:00" for hour in range(2, 26)]
        assert await made(apps[0]) == hours + later
        await apps[0].stop()

    asyncio.run(main())


def test_times_are_multiples_since_1970():
    daily = Schedule("daily", timedelta(days=1), Send("report", "r", Make("")), offset=timedelta(hours=3))
    assert daily.due(int(datetime(2026, 1, 1, 2, 59, tzinfo=UTC).timestamp() * 1e6)) == int(
        datetime(2025, 12, 31, 3, tzinfo=UTC).timestamp() * 1e6
    )
    assert FakeClock(START).now() % (daily.every) == 0


def test_what_cannot_be_is_refused():
    part, _ = maker()
    send = Send("report", "r", Make(""))
    for wrong in ({"every": 0.5}, {"every": 60, "offset": 60}, {"every": 60, "offset": -1}):
        with pytest.raises(Misconfigured, match="every= is seconds from 1"):
            Schedule("s", send=send, **wrong)
    with pytest.raises(Misconfigured, match="a function from the time"):
        Schedule("s", 60, "report")
    with pytest.raises(Misconfigured, match="bad name"):
        Schedule("No Name", 60, send)
    with pytest.raises(Misconfigured, match="'other', which no listed part is"):
        Site().app([part, Schedule("s", 60, Send("other", "r", Make("")))])
    with pytest.raises(Misconfigured, match="two schedules named 's'"):
        Site().app([part, Schedule("s", 60, send), Schedule("s", 60, send)])
