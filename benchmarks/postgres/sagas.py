"""Sagas of three steps, all begun at once, on our side and on that of PyPI `dbos`, each in a process of its own.

`python -m benchmarks.postgres.sagas SIDE URL COUNT TURN` prints how many ended a second, and when the slowest ones did.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from dbos import DBOS, DBOSConfig

from benchmarks import ours_work as work
from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.postgres.writing import on
from benchmarks.workloads.reading import ROOT
from foldlog import App, Decider, Send, command, event
from foldlog.process import Step, saga

STEPS = 3


@event("trip.begun")
class Begun:
    trip: str


@command("trip.begin")
class Begin:
    trip: str


@event("booking.made")
class Made:
    trip: str
    step: int


@command("booking.make")
class Make:
    trip: str
    step: int


@event("booking.undone")
class Undone:
    trip: str


@command("booking.undo")
class Undo:
    trip: str


def _begin(command: Begin, _state: bool) -> list[Begun]:
    return [Begun(command.trip)]


def _begun(_state: bool, _event: Begun) -> bool:
    return True


def _book(command: Make | Undo, _state: bool) -> list[Made | Undone]:
    return [Made(command.trip, command.step) if isinstance(command, Make) else Undone(command.trip)]


def _booked(_state: bool, event: Made | Undone) -> bool:
    return isinstance(event, Made)


trip = Decider("trip", _begin, _begun, initial=False)
booking = Decider("booking", _book, _booked, initial=False)


def _step(number: int) -> Step:
    return Step(
        do=lambda begun: Send(booking, f"{begun.trip}-{number}", Make(begun.trip, number)),
        undo=lambda begun: Send(booking, f"{begun.trip}-{number}", Undo(begun.trip)),
    )


journey = saga("journey", [_step(number) for number in range(STEPS)], on=Begun)


async def _ours(url: str, sagas: int, turn: int) -> Sample:
    app = App(url, [trip, booking, journey])
    async with app:
        await app.settle()
        after = await app.system.store.head()
        begin = time.perf_counter()

        async def ends() -> list[float]:
            """When the last step of each had taken effect."""
            seen: list[float] = []
            position = after
            while len(seen) < sagas:
                async for one in app.read(after=position):
                    position = one.position or position
                    if isinstance(one.data, Made) and one.data.step == STEPS - 1:
                        seen.append(time.perf_counter() - begin)
                await app.system.store.wait(position, 1)
            return seen

        watching = asyncio.create_task(ends())
        keys = [f"{turn}x{number}" for number in range(sagas)]
        await asyncio.gather(*[app.send(trip, key, Begin(key)) for key in keys])
        await app.settle(600)
        taken = time.perf_counter() - begin
        return {"rate": sagas / taken, "p99": work.percentiles(await watching)["p99"] / 1e3}


@DBOS.step()
async def book(_trip: str, step: int) -> int:
    """Does nothing but to be remembered."""
    return step


@DBOS.workflow()
async def follow(trip: str) -> float:
    for number in range(STEPS):
        await book(trip, number)
    return time.perf_counter()


async def _dbos(sagas: int, turn: int) -> Sample:
    begin = time.perf_counter()
    handles = [await DBOS.start_workflow_async(follow, f"{turn}x{number}") for number in range(sagas)]
    ends = await asyncio.gather(*[handle.get_result() for handle in handles])
    taken = time.perf_counter() - begin
    return {"rate": sagas / taken, "p99": work.percentiles([end - begin for end in ends])["p99"] / 1e3}


def ours(url: str, sagas: int, turn: int) -> Sample:
    return asyncio.run(_ours(url, sagas, turn))


def peer(url: str, sagas: int, turn: int) -> Sample:
    DBOS(config=DBOSConfig(name="benchmark", system_database_url=url, log_level="ERROR"))
    DBOS.launch()
    try:
        return asyncio.run(_dbos(sagas, turn))
    finally:
        DBOS.destroy()


SIDES: dict[str, Callable[[str, int, int], Sample]] = {"ours": ours, "peer": peer}


def _child(side: str, url: str, sagas: int, turn: int) -> Sample:
    line = [sys.executable, "-m", "benchmarks.postgres.sagas", side, url, str(sagas), str(turn)]
    done = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


@contextmanager
def sagas(bench: Bench) -> Iterator[dict[str, Side]]:
    number, turns = bench.sizes.sagas, count()
    url, database = bench.url("sagas"), on(bench).database("sagas-dbos")
    yield {
        "ours": lambda: _child("ours", url, number, next(turns)),
        "peer dbos": lambda: _child("peer", database.url, number, next(turns)),
    }


SAGAS = Workload(
    "sagas",
    (
        Metric("rate", "sagas of 3 steps, 1,000 at once", aim=Aim(1, "≥ dbos", "peer")),
        Metric("p99", "… the slowest of 100 ends after", " s", False, Aim(1, "≤ dbos", "peer", most=True)),
    ),
    sagas,
    "ours: a step is a command whose event is stored; dbos: async workflows, whose steps do nothing but are remembered",
)

if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
