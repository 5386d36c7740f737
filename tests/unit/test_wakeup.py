"""Retries and clocks that are set back: no wait gets longer, none is cut short, whichever process waits."""

import asyncio
from random import Random

import pytest

from foldlog import Context, Retry, handler
from foldlog.testing.simulation.loop import VirtualLoop
from foldlog.testing.simulation.process import SkewedClock
from tests.unit.bank import Open, Opened, account
from tests.unit.site import Site

HOUR = 3600_000_000


class Machine:
    """A loop whose time only sleepers move, and a clock on it that can be set."""

    def __init__(self):
        self.loop = VirtualLoop(Random(1))
        self.clock = SkewedClock(self.loop)
        self.site = Site(clock=self.clock)
        self.calls = []
        self.called = asyncio.Event()

    def run(self, main):
        self.loop.run_until_complete(main)

    async def until_called(self, times):
        while len(self.calls) < times:
            self.called.clear()
            await self.called.wait()

    def handlers(self, waits):
        """One that asks to be tried again after as many seconds as `waits` says for a key, once."""

        @handler("later")
        async def later(event: Opened, ctx: Context) -> Retry | None:
            self.calls.append((ctx.recorded.key, ctx.attempt, self.loop.time()))
            self.called.set()
            return Retry(waits[ctx.recorded.key]) if ctx.attempt == 1 else None

        return later

    def waited(self, key):
        first, second = (at for one, _, at in self.calls if one == key)
        return second - first


@pytest.mark.parametrize("after", [0, 1, 99])
@pytest.mark.parametrize("back", [0.5, 60, 3600])
def test_a_clock_that_is_set_back_makes_no_retry_wait_longer(back, after):
    machine = Machine()

    async def main():
        async with machine.site.app([account, machine.handlers({"a": 100})]) as app:
            await app.send(account, "a", Open("x"))
            await machine.until_called(1)
            await asyncio.sleep(after)
            machine.clock.skew -= int(back * 1e6)
            await machine.until_called(2)

    machine.run(main())
    assert machine.waited("a") == pytest.approx(100, abs=0.01)


def test_what_failed_before_and_after_keeps_its_own_time():
    machine = Machine()

    async def main():
        async with machine.site.app([account, machine.handlers({"a": 100, "b": 30, "c": 300})]) as app:
            await app.send(account, "a", Open("x"))
            await machine.until_called(1)
            await asyncio.sleep(50)
            machine.clock.skew -= HOUR
            await app.send(account, "b", Open("x"))
            await app.send(account, "c", Open("x"))
            await machine.until_called(6)

    machine.run(main())
    waited = {key: machine.waited(key) for key in "abc"}
    assert waited == {"a": pytest.approx(100, abs=1), "b": pytest.approx(30, abs=1), "c": pytest.approx(300, abs=1)}


def test_what_a_process_with_a_clock_ahead_has_left_waits_its_own_time_only():
    machine = Machine()

    async def main():
        later = machine.handlers({"a": 100})
        machine.clock.skew = HOUR
        async with machine.site.app([account, later]) as app:
            await app.send(account, "a", Open("x"))
            await machine.until_called(1)
            await asyncio.sleep(1)
        machine.clock.skew = 0
        async with machine.site.app([account, later]):
            await machine.until_called(2)

    machine.run(main())
    assert 100 <= machine.waited("a") <= 102


def test_a_clock_that_is_set_ahead_cuts_a_wait_short_at_most():
    machine = Machine()

    async def main():
        async with machine.site.app([account, machine.handlers({"a": 100})]) as app:
            await app.send(account, "a", Open("x"))
            await machine.until_called(1)
            machine.clock.skew += HOUR
            await machine.until_called(2)

    machine.run(main())
    assert machine.waited("a") <= 100.01
