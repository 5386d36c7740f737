"""A server that is stopped at once, again and again, under load: nothing acknowledged is lost, nothing is there twice,
and those who follow go on by themselves.
"""

import asyncio
import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from foldlog import Conflict, Unavailable
from tests.reliability.child import say
from tests.reliability.counter import Count, Counted, counter
from tests.reliability.processes import ROOT, Place, Result, expect, lines
from tests.reliability.shared import Workers, make
from tests.reliability.stops import compare
from tests.servers import Postgres

KEYS = 8
PATIENCE = 120  # seconds for what comes soon on a machine that is not busy


async def send(url: str, me: str, acknowledged: str) -> None:
    """A task for each key sends one command after the other, each again until it is acknowledged, which is noted
    outside; until standard input ends. Says how often it sent again."""
    file = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stop, again = asyncio.Event(), 0
    asyncio.get_running_loop().add_reader(0, stop.set)

    async def one(key: str) -> None:
        nonlocal again
        for number in itertools.count(1):
            name = f"{me}.{key}.{number}"
            while True:
                try:
                    await app.send(counter, key, Count(number), command_id=name)
                    break
                except (Unavailable, Conflict):
                    again += 1
                    await asyncio.sleep(0.05)
            os.write(file, f"{name}\n".encode())
            if stop.is_set():
                return

    async with make(url, "effects", Path(os.devnull)).open(functions=False) as app:
        say("open")
        await asyncio.gather(*(one(str(key)) for key in range(KEYS)))
    say(str(again))


def restart_server(place: Place, restarts: int, senders: int = 3, workers: int = 2) -> Result:
    """Processes that send and processes that follow, through so many restarts of their server at random times."""
    if place.server is None:
        raise AssertionError("there is no server to restart")
    chance, running = random.Random(3), Workers(place, "effects")
    files = [place.folder / f"acknowledged.{number}" for number in range(senders)]
    command = [sys.executable, "-m", "tests.reliability.outages", running.url]
    with ExitStack() as stack:
        stack.callback(running.end_all)
        for _ in range(workers):
            running.start()
        children = [
            subprocess.Popen(
                [*command, f"s{number}", str(path)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number, path in enumerate(files)
        ]
        for child in children:
            stack.callback(child.kill)
            expect(child, "open")
        for _ in range(restarts):
            _crash(place.server, files, chance)
        _until_more(files)
        again = sum(_ended(child) for child in children)
    faults = [f"a process ended with {child.returncode}" for child in children if child.returncode]
    sent = [line for path in files for line in path.read_text().splitlines()]
    figures, wrong = asyncio.run(compare(running))
    wrong += asyncio.run(_stored(running, sent))
    shown = {"restarts": restarts, "acknowledged": len(sent), "sent again": again, **figures}
    return Result("server stopped at once under load", shown, [*faults, *wrong, *running.stale()])


def _crash(server: Postgres, files: list[Path], chance: random.Random) -> None:
    """Stop the server while commands come in, and start it some time later."""
    _until_more(files)
    time.sleep(chance.uniform(0, 0.5))
    server.stop(crash=True)
    time.sleep(chance.choice([0, 0, chance.uniform(0, 2)]))
    server.start()


def _until_more(files: list[Path]) -> None:
    """Wait until each sender has something acknowledged since."""
    before, end = [path.stat().st_size for path in files], time.monotonic() + PATIENCE
    while any(path.stat().st_size <= size for path, size in zip(files, before, strict=True)):
        if time.monotonic() > end:
            raise AssertionError(f"nothing was acknowledged for {PATIENCE} s")
        time.sleep(0.01)


def _ended(child: subprocess.Popen[str]) -> int:
    """Have a sender end; how often it sent again."""
    if child.stdin is None:
        raise AssertionError("children have a pipe")
    child.stdin.close()
    child.stdin = None
    return int(lines(child)[-1])


async def _stored(workers: Workers, sent: list[str]) -> list[str]:
    """Commands against events, one each; and versions without gaps."""
    found, last, faults = Counter[str](), Counter[str](), list[str]()
    async with make(workers.url, "effects", Path(os.devnull)).open(functions=False) as app:
        async for event in app.read():
            if event.version != last[event.stream] + 1:
                faults.append(f"{event.stream} goes from {last[event.stream]} to {event.version}")
            last[event.stream] = event.version
            if isinstance(event.data, Counted):
                found[event.meta.command] += 1
    faults += [f"{name} is there {count} times" for name, count in found.items() if count > 1]
    faults += [f"{name} was acknowledged and is lost" for name in sent if name not in found]
    return faults + [f"{name} was never acknowledged" for name in found.keys() - set(sent)]


if __name__ == "__main__":
    asyncio.run(send(*sys.argv[1:]))
