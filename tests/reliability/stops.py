"""SIGSTOP past the lease, then SIGCONT: what a process writes that slept through the loss of its lease is refused."""

import asyncio
import random
import signal
from collections import Counter
from contextlib import suppress
from functools import partial

from foldlog import App, Unavailable
from tests.reliability.counter import Count, Heard, counter, sums
from tests.reliability.functions import out_of_order
from tests.reliability.processes import Place, Result
from tests.reliability.shared import LEASE, Workers, make, until

FUNCTIONS = "handler.effects", "view.sums.1"


def stop_owners(place: Place, rounds: int, patience: float = 1.0) -> Result:
    """Every round, one of two processes is stopped until the other has taken all of its partitions, then woken, while
    events keep coming. A takeover must be done `patience` seconds after the lease has run out."""
    return asyncio.run(_stop_owners(Workers(place, "effects"), rounds, patience))


async def _stop_owners(workers: Workers, rounds: int, patience: float) -> Result:
    chance, slowest, inside = random.Random(5), 0.0, 0
    try:
        for _ in range(2):
            workers.start()
        names = list(workers.running)
        async with make(workers.url, "effects", workers.world).open(functions=False) as app:
            sending = asyncio.create_task(_send(app))
            for _ in range(rounds):
                for function in FUNCTIONS:
                    await until(app, function, lambda held: all(held[name] == 8 for name in names))
                victim = chance.choice(names)
                inside += await workers.hang(victim)
                took = 0.0
                for function in FUNCTIONS:
                    took += await until(app, function, partial(_gone, victim))
                slowest = max(slowest, took)
                workers.running[victim].send_signal(signal.SIGCONT)
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
    except AssertionError as error:
        error.add_note(workers.said())
        raise
    finally:
        workers.end_all()
    figures, faults = await compare(workers)
    if slowest > LEASE + patience:
        faults.append(f"a takeover took {slowest:.2f} s with a lease of {LEASE} s")
    stale = workers.stale()
    shown = {
        "stops": rounds,
        "and inside a commit": inside,
        **figures,
        "stale writes": len(stale),
        "slowest takeover s": round(slowest, 2),
    }
    return Result("SIGSTOP past the lease", shown, [*faults, *stale])


def _gone(name: str, held: Counter[str]) -> bool:
    return held[name] + held[""] == 0


async def _send(app: App) -> None:
    number = 0
    while True:
        number += 1
        with suppress(Unavailable):  # a lock was held for too long; the count goes on
            await app.send(counter, str(number % 40), Count(number))
        await asyncio.sleep(0.004)


async def compare(workers: Workers) -> tuple[dict[str, int], list[str]]:
    """Rows and effects against the log, once everything has settled."""
    faults: list[str] = []
    expected: dict[str, int] = {}
    ids: set[str] = set()
    heard: dict[str, int] = {}
    async with make(workers.url, "effects", workers.world) as app:
        await app.settle(timeout=120)
        async for event in app.read():
            if isinstance(event.data, Heard):
                heard[event.data.of] = heard.get(event.data.of, 0) + 1
            else:
                expected[event.key] = expected.get(event.key, 0) + event.data.number
                ids.add(event.id)
        for key, total in expected.items():
            if (row := await app.get(sums, key)) != total:
                faults.append(f"sums {key}: {row}, a fresh fold gives {total}")
        faults += [f"dead letter {letter.id}: {letter.error}" for letter in await app.dead_letters()]
    faults += [f"{of} was heard {times} times" for of, times in heard.items() if times != 1]
    lines = workers.lines()
    faults += [f"no effect of {one}" for one in ids - heard.keys() | ids - {line[0] for line in lines}]
    faults += out_of_order(lines)
    return {"events": len(ids), "effects repeated outside": len(lines) - len(ids)}, faults
