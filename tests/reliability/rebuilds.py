"""A view's new version built beside live traffic: killed again and again, and measured."""

import asyncio
import itertools
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from foldlog import App, Decider, Recorded, command, event, handler, limits, projection
from foldlog.flow import serving
from foldlog.flow.difference import differences
from foldlog.model.message import Draft, Meta, encode_meta
from foldlog.ports.store import Append, Batch
from foldlog.runtime.building import build_view
from tests.reliability.child import open_store
from tests.reliability.processes import ROOT, Result, expect, lines

STREAMS = 5_000


@event("till.paid")
class Paid:
    cents: int


@command("till.pay")
class Pay:
    cents: int


def decide(command: Pay, _state: None) -> list[Paid]:
    return [Paid(command.cents)]


def evolve(_state: None, event: Paid) -> None:
    return None


till = Decider("till", decide, evolve, initial=None)


def fold(row: list[int] | None, event: Paid) -> list[int]:
    """How often and how much; wrong as soon as an event counts twice, or not at all."""
    count, total = row or (0, 0)
    return [count + 1, total * 3 % 1_000_003 + event.cents]


first = projection("tills")(fold)
second = projection("tills", version=2)(fold)
EFFECTS = [Path(os.devnull)]


@handler("receipts")
async def receipts(event: Recorded[Paid]) -> None:
    """Leaves one line outside for each effect."""
    with EFFECTS[0].open("a") as file:
        file.write(f"{event.id}\n")


def make(url: str, view: Any = second, *more: Any, lease: float = limits.LEASE) -> App:
    """The app with one version of the view."""
    return App(url, [till, view, *more], lease=lease)


async def fill(url: str, events: int) -> None:
    """A log of so many events on `STREAMS` streams."""
    store = open_store(url)
    await store.open()
    raw = encode_meta(Meta())
    for at in range(0, events, STREAMS):
        appends = [
            Append(f"till-{stream}", [Draft("till.paid", 1, b'{"cents":%d}' % ((at + stream) % 997), raw)])
            for stream in range(min(STREAMS, events - at))
        ]
        for part in range(0, len(appends), 1_000):
            await store.commit(Batch(appends[part : part + 1_000]))
    await store.close()


def kill_rebuilds(folder: Path, rounds: int, rate: int = 20_000) -> Result:
    """Every round a process builds version 2 and is killed after a random time; then the rows are compared."""
    url, effects = f"sqlite:{folder}/rebuilds.db", folder / "effects.txt"
    effects.touch()
    chance = random.Random(13)
    asyncio.run(fill(url, rounds * 4_000))
    asyncio.run(_serve_first(url, effects))
    old, reached, inside = effects.read_text(), [0], 0
    for _ in range(rounds):
        child = _child("build", url, str(rate))
        expect(child, "open")
        time.sleep(chance.uniform(0.1, 0.7))
        child.kill()
        lines(child)
        state = asyncio.run(_state(url))
        inside += state.behind > 0
        reached.append(state.position)
    faults = [f"the checkpoint went back: {a} to {b}" for a, b in itertools.pairwise(reached) if b < a]
    rows, more = asyncio.run(_compare(url, effects))
    if effects.read_text() != old:
        faults.append("a handler ran again for what is old")
    steps = len(set(reached)) - 1
    figures = {"kills": rounds, "of them while building": inside, "steps": steps, "rows": rows}
    return Result("kill -9 on a rebuild", figures, faults + more)


async def _serve_first(url: str, effects: Path) -> None:
    EFFECTS[0] = effects
    async with make(url, first, receipts) as app:
        store = app.system.store
        # The handler's history is short, so that the check is about the rebuild.
        await app.settle(timeout=600)
        await store.head()


async def _state(url: str) -> serving.BuildProgress:
    async with make(url).open(functions=False) as app:
        return await serving.progress(app.system.store, "tills", 2)


async def _compare(url: str, effects: Path) -> tuple[int, list[str]]:
    EFFECTS[0] = effects
    faults: list[str] = []
    expected: dict[str, list[int]] = {}
    async with make(url, second, receipts) as app:
        await app.settle(timeout=600)
        async for recorded in app.read():
            expected[recorded.key] = fold(expected.get(recorded.key), recorded.data)
        store = app.system.store
        for key, row in expected.items():
            if (found := await app.get(second, key)) != row:
                faults.append(f"{key}: {found}, a fresh fold gives {row}")
        tables = [(await serving.known_version(store, "tills", one))[0].table("tills") for one in (1, 2)]
        faults += [f"{one.key} is {one.kind}" async for one in differences(store, tables[0], tables[1])]
        served, _ = await serving.pointer(store, "tills")
        if served is None or served.current != 2:
            faults.append(f"read is {served}, not version 2")
    return len(expected), faults


def measure_rebuild(folder: Path, events: int, seconds: float = 15.0) -> Result:
    """The rate of a rebuild where nothing else runs, and what live commits wait with none, with one in a process of its
    own, and with one in the process that serves."""
    url = f"sqlite:{folder}/measure.db"
    asyncio.run(fill(url, events))
    asyncio.run(_make_first(url))
    began = time.perf_counter()
    child = _child("build", url, "0")
    expect(child, "open")
    opened = time.perf_counter()
    expect(child, "built")
    rate = events / (time.perf_counter() - opened)
    lines(child)
    figures: dict[str, object] = {"events": events, "events/s alone": round(rate)}
    figures["s with start"] = round(time.perf_counter() - began, 1)
    p99: dict[str, float] = {}
    for name, role in (("quiet", "quiet"), ("own process", "beside"), ("serving process", "inside")):
        done = _child("live", url, role, str(seconds))
        said = lines(done)
        count, half, most, built = said[-1].split()
        p99[name] = float(most)
        figures[f"{name}: commits"] = int(count)
        figures[f"{name}: p50 ms"], figures[f"{name}: p99 ms"] = float(half), float(most)
        if role != "quiet":
            figures[f"{name}: events/s"] = round(float(built) / seconds)
    return Result("rebuild beside live traffic", figures, [])


async def _make_first(url: str) -> None:
    async with make(url, first).open(functions=False) as app:
        await serving.register(app.system.store, app.system.views["tills"])


def _child(role: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.reliability.rebuilds", role, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def build(url: str, rate: str, version: str = "2") -> None:
    """Build a version; says when it has begun and when it is built."""
    lease = limits.LEASE
    if int(rate):  # it will be killed: what it has done is stored often, and its lease runs out soon
        lease, limits.REBUILD_STORE, limits.REBUILD_STORE_LIVE = 0.3, 0.02, 0.02
    part = projection("tills", version=int(version))(fold)
    async with make(url, part, lease=lease).open(functions=False) as app:
        os.write(1, b"open\n")
        await build_view(app.system, app.system.views["tills"], asyncio.Event(), int(rate) or None, lambda _: None)
        os.write(1, b"built\n")


async def live(url: str, role: str, seconds: str) -> None:
    """Sends at a steady rate; says how many, the median and the 99th percentile of their latency in milliseconds, and
    how far a rebuild came meanwhile."""
    version = {"quiet": 2, "beside": 3, "inside": 4}[role]
    child = _child("build", url, "0", "3") if role == "beside" else None
    if child:
        expect(child, "open")
    part = projection("tills", version=version, switch="manual")(fold)
    async with App(url, [till, part]).open(functions=role == "inside") as app:
        took: list[float] = []
        end = time.perf_counter() + float(seconds)

        async def one(number: int) -> None:
            began = time.perf_counter()
            await app.send(till, f"live{number % 100}", Pay(1))
            took.append((time.perf_counter() - began) * 1e3)

        number = 0
        tasks: list[asyncio.Task[None]] = []
        while time.perf_counter() < end:
            tasks.append(asyncio.create_task(one(number)))
            number += 1
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        state = await serving.progress(app.system.store, "tills", version)
        if child:
            child.kill()
            lines(child)
    cuts = statistics.quantiles(took, n=100)
    built = 0 if role == "quiet" else state.position
    os.write(1, f"{len(took)} {statistics.median(took):.2f} {cuts[98]:.2f} {built}\n".encode())


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {"build": build, "live": live}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](*sys.argv[2:]))
