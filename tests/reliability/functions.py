"""`kill -9` while projections and handlers run: rows equal a fresh fold, and every event has its effects."""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.reliability.counter import Counted, Heard, echo, make, numbers, sums
from tests.reliability.processes import ROOT, Place, Result, expect, lines


def kill_functions(place: Place, rounds: int) -> Result:
    """Every round: the app sends, projects and delivers on the same store, and is killed after a random time."""
    url, outside = place.url("functions"), place.folder / "effects.txt"
    outside.touch()
    chance = random.Random(11)
    acknowledged: set[str] = set()
    for number in range(rounds):
        command = [sys.executable, "-m", "tests.reliability.counter", url, str(outside), f"r{number}"]
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        expect(child, "open")
        time.sleep(chance.uniform(0.0, 0.4))
        child.kill()
        acknowledged.update(lines(child))
    figures, faults = asyncio.run(_compare(url, outside, acknowledged))
    effects = [line.split() for line in outside.read_text().splitlines()]
    ids = figures.pop("ids")
    faults += [f"no effect of {missing}" for missing in ids - {line[0] for line in effects if line}]
    faults += out_of_order(effects)
    shown = {"kills": rounds, "events": figures["events"], "effects": len(effects), "repeated": len(effects) - len(ids)}
    return Result("kill -9 on projections and handlers", shown, faults)


async def _compare(url: str, outside: Path, acknowledged: set[str]) -> tuple[dict[str, Any], list[str]]:
    faults: list[str] = []
    async with make(url, outside) as app:
        await app.settle(timeout=300)
        expected: Counter[str] = Counter()
        last: dict[str, list[int]] = {}
        ids, heard, stored = set(), Counter[str](), set()
        async for event in app.read():
            stored.add(f"{event.stream}@{event.version}")
            match event.data:
                case Counted(number):
                    expected[event.key] += number
                    last[event.key] = [*last.get(event.key, [])[-4:], number]
                    ids.add(event.id)
                case Heard(of):
                    heard[of] += 1
        for key, total in expected.items():
            if (row := await app.get(sums, key)) != total:
                faults.append(f"sums {key}: {row}, a fresh fold gives {total}")
            if (kept := await app.get(numbers, key)) != last[key]:
                faults.append(f"numbers {key}: {kept}, a fresh fold gives {last[key]}")
        faults += [f"dead letter {letter.id}: {letter.error}" for letter in await app.dead_letters()]
        faults += [f"lost {name}" for name in acknowledged - stored]
        faults += [f"{of} was heard {times} times" for of, times in heard.items() if times != 1]
        faults += [f"{of} was never heard" for of in ids - set(heard)]
        await app.get(echo, "0")
    return {"events": len(stored), "ids": ids}, faults


def out_of_order(effects: list[list[str]]) -> list[str]:
    """Per stream, the first time each version took effect must rise."""
    newest: Counter[str] = Counter()
    faults = []
    for line in effects:
        if len(line) != 3:
            continue  # a line that the kill cut
        stream, version = line[1], int(line[2])
        if version > newest[stream] + 1:
            faults.append(f"{stream}: version {version} took effect before {newest[stream] + 1}")
        newest[stream] = max(newest[stream], version)
    return faults
