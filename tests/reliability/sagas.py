"""`kill -9` while sagas do and undo their steps, and while timers are due: the ends are right, timers ring once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from foldlog import App, Decider, Recorded, Rejected, Send, Unavailable, command, event
from foldlog.flow.timers import TIMERS
from foldlog.model.query import Query
from foldlog.ports.store import Batch, Range
from foldlog.process import Process, Step, Timer, saga
from tests.reliability.processes import ROOT, Place, Result, expect, lines
from tests.servers import Postgres

NAMES = "flight", "hotel", "car"
LEASE = 0.6


@event("trip.planned")
class Planned:
    trip: str
    fails_at: int = -1


@command("trip.plan")
class Plan:
    trip: str
    fails_at: int = -1


@event("trip.to-remind")
class ToRemind:
    after: float


@event("trip.due")
class Due:
    pass


@event("trip.reminded")
class Reminded:
    pass


@command("trip.remind")
class Remind:
    after: float = -1  # now


@event("part.booked")
class Booked:
    trip: str


@event("part.freed")
class Freed:
    trip: str


@command("part.book")
class Book:
    trip: str
    fails: bool = False


@command("part.free")
class Free:
    trip: str


def plan(command: Plan | Remind, state: int) -> list[Planned | ToRemind | Reminded]:
    match command:
        case Plan(key, fails_at):
            return [Planned(key, fails_at)]
        case Remind(after):
            return [Reminded() if after < 0 else ToRemind(after)]


def planned(state: int, event: Planned | ToRemind | Reminded) -> int:
    return state + 1


def book(command: Book | Free, state: int) -> list[Booked | Freed]:
    if isinstance(command, Free):
        return [Freed(command.trip)]
    if command.fails:
        raise Rejected("part.full")
    return [Booked(command.trip)]


def booked(state: int, event: Booked | Freed) -> int:
    return state + 1


trip = Decider("trip", plan, planned, initial=0)


def remind(event: Recorded[ToRemind | Due], state: int) -> list[Send | Timer]:
    asked = event.data
    return (
        [Timer("due", Due(), after=asked.after)] if isinstance(asked, ToRemind) else [Send(trip, event.key, Remind())]
    )


def count(state: int, event: ToRemind | Due) -> int:
    return state + isinstance(event, Due)


def _step(number: int, name: str) -> Step:
    return Step(
        do=lambda begun: Send(name, begun.trip, Book(begun.trip, begun.fails_at == number)),
        undo=lambda begun: Send(name, begun.trip, Free(begun.trip)),
    )


journey = saga("journey", [_step(at, name) for at, name in enumerate(NAMES)], on=Planned)
reminder = Process("reminder", remind, count, initial=0)
PARTS = [trip, journey, reminder, *(Decider(name, book, booked, initial=0) for name in NAMES)]


def make(url: str) -> App:
    return App(url, PARTS, lease=LEASE)


async def main(url: str, last: str, when: str) -> None:
    """Run everything, say when it has settled, and die like a machine at commit number `last`, right before or after it
    is stored. Commits that only renew a lease or a heartbeat do not count."""
    app, left = make(url), int(last)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async with app:
        store: Any = app.system.store
        commit = store.commit

        async def counted(batch: Batch) -> Any:
            nonlocal left
            real = bool(batch.appends) or any(row.table.name.startswith(("process.", "inbox")) for row in batch.rows)
            left -= real
            if real and left == 0 and when == "before":
                die()
            answer = await commit(batch)
            if real and left <= 0 and when == "after":
                die()
            return answer

        store.commit = counted
        os.write(1, b"open\n")
        if not last.startswith("-"):
            await _over(app)
            os.write(1, b"settled\n")
            return
        while True:
            try:
                await _over(app)
                break
            except Unavailable:  # the server is being started again
                await asyncio.sleep(0.1)
        os.write(1, b"settled\n")
        await asyncio.Event().wait()  # until it is killed from outside


async def _over(app: App) -> None:
    """Return when everything has settled and no timer is left."""
    while True:
        await app.settle(timeout=300)
        if not (await app.system.store.scan(TIMERS, Range(limit=1))).rows:  # none rings before its time
            return
        await app.system.store.wait(None, 0.1)


def _child(url: str, last: int, when: str = "before") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.reliability.sagas", url, str(last), when]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def _plan(url: str, trips: list[tuple[str, int]]) -> None:
    async with make(url).open(functions=False) as app:
        await asyncio.gather(*[app.send(trip, key, Plan(key, fails_at)) for key, fails_at in trips])


async def _wrong(url: str, trips: dict[str, int]) -> list[str]:
    """Trips whose parts were not booked and freed as they should have been."""
    found: dict[str, list[str]] = defaultdict(list)
    faults: list[str] = []
    async with make(url) as app:
        await app.settle(timeout=300)
        async for one in app.read():
            if one.category in NAMES:
                found[one.key].append(f"{one.category} {one.type}")
        rows = (await app.system.store.scan(app.system.processes["journey"].table, Range(limit=10))).rows
        faults += [f"{row.key.key} never ended: {row.value!r}" for row in rows]
        faults += [f"dead letter {letter.id}: {letter.error}" for letter in await app.dead_letters()]
    for key, fails_at in trips.items():
        done = NAMES if fails_at < 0 else NAMES[:fails_at]
        undone = () if fails_at < 0 else done[::-1]
        expected = [*(f"{name} part.booked" for name in done), *(f"{name} part.freed" for name in undone)]
        if found[key] != expected:
            faults.append(f"trip {key}, which fails at {fails_at}: {found[key]}")
    return faults


def kill_steps(place: Place, every: int = 1, failing: Sequence[int] = (-1, 0, 1, 2)) -> Result:
    """A saga that goes through (-1) and sagas that fail at each step, killed at every commit (or every so many)."""
    faults: list[str] = []
    kills = 0
    for fails_at in failing:
        for when in ("before", "after"):
            last, ended = 1 + kills % every, False
            while not ended:
                url = place.url(f"{fails_at}{when}{last}")
                asyncio.run(_plan(url, [("1", fails_at)]))
                child = _child(url, last, when)
                expect(child, "open")
                ended = "settled" in lines(child)
                kills += not ended
                where = f"killed {when} commit {last}: "
                faults += [where + fault for fault in asyncio.run(_wrong(url, {"1": fails_at}))]
                last += every
    return Result("kill -9 at every step of a saga", {"kills": kills}, faults)


def restart_sagas(place: Place, sagas: int, restarts: int) -> Result:
    """Many sagas at once, through restarts at random times; every second time a server is stopped at once, too."""
    url, chance = place.url("sagas"), random.Random(5)
    trips = {str(number): chance.choice([-1, -1, 0, 1, 2]) for number in range(sagas)}
    asyncio.run(_plan(url, list(trips.items())))
    kills = crashes = 0
    for number in range(restarts):
        child = _child(url, -1)
        expect(child, "open")
        time.sleep(chance.uniform(0.0, 0.6))
        if place.server is not None and number % 2:
            _crash(place.server)
            time.sleep(chance.uniform(0.0, 0.6))
            crashes += 1
        child.kill()
        kills += "settled" not in lines(child)
    began = time.perf_counter()
    faults = asyncio.run(_wrong(url, trips))
    rest = round(time.perf_counter() - began, 1)
    figures = {
        "sagas": sagas,
        "restarts": restarts,
        "of them at work": kills,
        "and of the server": crashes,
        "wrong": len(faults),
        "seconds for the rest": rest,
    }
    return Result("sagas through restarts", figures, faults)


def _crash(server: Postgres) -> None:
    server.stop(crash=True)
    server.start()


def kill_timers(place: Place, timers: int, kills: int) -> Result:
    """Many timers that are due at about the same time, while those who ring them are killed; a server is stopped at
    once, too."""
    url = place.url("timers")
    after = 3 + timers / (100 if place.server else 250)  # seconds: none rings before all are set

    async def set_them() -> None:
        async with make(url) as app:
            for first in range(0, timers, 2_000):
                numbers = range(first, min(first + 2_000, timers))
                await asyncio.gather(*[app.send(trip, str(number), Remind(after)) for number in numbers])
            await app.settle(timeout=600)

    asyncio.run(set_them())
    died = 0
    if place.server is not None:
        child = _child(url, -1)
        expect(child, "open")
        asyncio.run(_ringing(url, timers // 20))
        _crash(place.server)
        asyncio.run(_ringing(url, timers // 10))
        child.kill()
        lines(child)
    for number in range(1, kills + 1):
        child = _child(url, number * timers // (2 * kills), "before" if number % 2 else "after")
        expect(child, "open")
        died += "settled" not in lines(child)
    faults, rung = asyncio.run(_rung(url, timers))
    if died < kills:
        faults.append(f"only {died} were killed while timers rang")
    figures = {"timers": timers, "kills": died, "and of the server": int(place.server is not None), "rung": rung}
    return Result("timers due during crashes", figures, faults)


async def _ringing(url: str, least: int) -> None:
    """Return when so many timers have rung."""
    async with make(url).open(functions=False) as app:
        rung = after = 0
        while rung < least:
            page = await app.system.store.read(Query(types=("trip.due",)), after)
            rung += len(page.events)
            after = page.events[-1].position if page.events else after
            await app.system.store.wait(after, 0.1)


async def _rung(url: str, timers: int) -> tuple[list[str], int]:
    rang: Counter[str] = Counter()
    async with make(url) as app:
        await _over(app)
        reminded = 0
        async for one in app.read():
            rang[one.key] += one.type == "trip.due"
            reminded += one.type == "trip.reminded"
        faults = [f"dead letter {letter.id}: {letter.error}" for letter in await app.dead_letters()]
    faults += [
        f"the timer of {number} rang {rang[str(number)]} times" for number in range(timers) if rang[str(number)] != 1
    ]
    if reminded != timers:
        faults.append(f"{reminded} commands followed from {timers} timers")
    return faults, sum(rang.values())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
