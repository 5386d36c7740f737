"""A small app whose every effect can be counted from outside, and the child that runs it until it is killed."""

import asyncio
import itertools
import logging
import os
import sys
from pathlib import Path

from foldlog import App, Backoff, Context, Decider, Recorded, Send, command, event, handler, projection


@event("counter.counted")
class Counted:
    number: int


@event("echo.heard")
class Heard:
    of: str


@command("counter.count")
class Count:
    number: int


@command("echo.hear")
class Hear:
    of: str


def decide(command: Count, _last: int) -> list[Counted]:
    return [Counted(command.number)]


def evolve(_last: int, event: Counted) -> int:
    return event.number


def hear(command: Hear, _heard: int) -> list[Heard]:
    return [Heard(command.of)]


def count_heard(heard: int, _event: Heard) -> int:
    return heard + 1


counter = Decider("counter", decide, evolve, initial=0)
echo = Decider("echo", hear, count_heard, initial=0)


@projection("sums")
def sums(row: int | None, event: Counted) -> int:
    return (row or 0) + event.number


@projection("numbers", inline=True)
def numbers(row: list[int] | None, event: Counted) -> list[int]:
    return [*(row or [])[-4:], event.number]


# No breaker: the first attempts at many keys fail on purpose, and a breaker's probes are no attempts.
@handler("effects", retry=Backoff(attempts=50, first=0.001, ceiling=0.01), breaker=None)
async def effects(event: Recorded[Counted], ctx: Context) -> list[Send]:
    """Leaves one line outside for every effect; every seventh number fails once before it works."""
    if event.data.number % 7 == 0 and ctx.attempt == 1:
        raise RuntimeError("the world was not ready")
    with WORLD[0].open("ab") as file:
        file.write(f"{event.id} {event.stream} {event.version}\n".encode())
    return [Send(echo, event.key, Hear(event.id))]


WORLD = [Path("effects.txt")]
"""Where effects are left: the file outside of the store."""


def make(url: str, world: Path) -> App:
    """The app on one store; the lease is short, so that a killed owner's functions go on soon."""
    WORLD[0] = world
    return App(url, [counter, echo, sums, numbers, effects], lease=0.3)


async def main(url: str, world: str, seed: str) -> None:
    """Counts for ever on eight streams."""
    logging.getLogger("foldlog").setLevel(logging.ERROR)  # every seventh attempt fails on purpose
    async with make(url, Path(world)) as app:
        os.write(1, b"open\n")

        async def one(stream: int) -> None:
            for number in itertools.count(1):
                receipt = await app.send(counter, str(stream), Count(number), command_id=f"{seed}.{stream}.{number}")
                os.write(1, f"{receipt.stream}@{receipt.version}\n".encode())

        await asyncio.gather(*(one(stream) for stream in range(8)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
