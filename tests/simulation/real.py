"""A simulation's story on a real store: two apps share its functions, one of them is started anew midway, some commands
are sent by both at once. Then the same invariants are asked, those for every app and the story's own.

Threads, files, sockets and a server's transactions are not in a seed's hands: the seed makes the story and what is done
to the apps, and not the order of things. Waits, timers, retries and leases go by a clock that the run moves.
"""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from foldlog import App, Send
from foldlog.testing import FakeClock
from foldlog.testing.simulation.seen import ALWAYS, Broken, judge, look
from foldlog.testing.simulation.story import Sent, steps
from tests.simulation import bank, shop, transfers

TWICE = 0.2  # of the commands are sent by both apps at once, with the same id
AGAIN = 0.1  # an app is started anew before so many steps


class Told(NamedTuple):
    """What a simulation is made of."""

    parts: Callable[[Any], Sequence[object]]
    world: Callable[[], Any]
    story: Callable[[Random], Any]
    invariants: Sequence[Callable[[Any], object]]


def _transfers(kind: str) -> Told:
    conserved = transfers.money_is_conserved_once_settled if kind == "process" else transfers.the_same_by_steps
    invariants = [conserved, transfers.nobody_is_overdrawn]
    return Told(lambda _: transfers.PARTS[kind], lambda: None, transfers.story, invariants)


TOLD = {
    "bank": Told(bank.bank, bank.World, bank.story, bank.INVARIANTS),
    "shop": Told(shop.shop, shop.outside, shop.story, shop.INVARIANTS),
    "process": _transfers("process"),
    "saga": _transfers("saga"),
}


class Counts(NamedTuple):
    """What a run came to: the invariant that broke (None: all held), and how much there was to look at."""

    broken: Broken | None
    events: int
    twice: int
    again: int


async def ran(told: Told, url: str, seed: int) -> Counts:
    """Tell the story to two apps on the store, wait until all of it is done, and look."""
    return await _Run(told, url, seed).go()


class _Run:
    def __init__(self, told: Told, url: str, seed: int) -> None:
        self.random, self.clock, self.world = Random(f"{seed}/real"), FakeClock(), told.world()
        self.told, self.steps = told, steps(told.story, seed, 1_000)
        parts = list(told.parts(self.world))
        self.apps = [App(url, parts, clock=self.clock) for _ in range(2)]
        self.sent: list[Sent] = []
        self.lanes: dict[str, asyncio.Task[None]] = {}
        self.twice = self.again = 0

    async def go(self) -> Counts:
        for app in self.apps:
            await app.__aenter__()
        try:
            for number, step in enumerate(self.steps):
                await self._step(number, step)
            await self._rest()
            system = self.apps[0].system
            seen = await look(system, system.store, self.world, self.sent)
            return Counts(judge(seen, [*ALWAYS, *self.told.invariants]), len(seen.events), self.twice, self.again)
        finally:
            for task in self.lanes.values():
                task.cancel()
            for app in self.apps:
                await app.__aexit__(None, None, None)

    async def _step(self, number: int, step: Any) -> None:
        if self.random.random() < AGAIN:
            await self._start_anew()
        if not isinstance(step, Send):
            self.clock.advance(step.seconds)
            return
        sent = Sent(number, step)
        self.sent.append(sent)
        lane = f"{step.decider}-{step.key}"
        twice = self.random.random() < TWICE
        self.twice += twice
        apps = self.apps if twice else [self.random.choice(self.apps)]
        self.lanes[lane] = asyncio.create_task(self._send(sent, apps, self.lanes.get(lane)))
        await asyncio.sleep(0)

    async def _start_anew(self) -> None:
        await asyncio.gather(*self.lanes.values())  # whoever sends by an app that closes gets no answer from it
        self.again += 1
        app = self.random.choice(self.apps)
        await app.__aexit__(None, None, None)
        await app.__aenter__()

    async def _send(self, sent: Sent, apps: list[App], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        await asyncio.gather(*[self._deliver(app, sent) for app in apps])

    async def _deliver(self, app: App, sent: Sent) -> None:
        answer: Any = None
        while not sent.answered(answer):
            try:
                one = sent.send
                answer = await app.send(one.decider, one.key, one.command, command_id=sent.command_id)
            except Exception as error:  # which of them is an answer, `Sent` tells
                answer = error

    async def _rest(self) -> None:
        await asyncio.gather(*self.lanes.values())
        head = -1
        while head != (head := await self.apps[0].system.store.head()):
            for app in self.apps:
                await app.settle()
