"""What the checks start, kill and race: small programs, each a role of `python -m tests.reliability.child`."""

import asyncio
import itertools
import os
import random
import sys
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import Any

from foldlog.connect import connect
from foldlog.errors import Conflict, Unavailable
from foldlog.flow.subscribe import follow
from foldlog.model.clock import SystemClock
from foldlog.model.message import Draft, Kind, Meta, encode_meta
from foldlog.model.query import Query
from foldlog.model.stream import ANY, NONE
from foldlog.ports.store import Append, Batch, Condition, Put, RowKey, Store, Table

LEDGER = Table("ledger")


def open_store(url: str) -> Store:
    """A store without an app."""
    return connect(url, Kind, SystemClock().now)


def draft(name: str, index: int, size: int, tags: tuple[str, ...] = ()) -> Draft:
    """Event `index` of the `size` events of one batch."""
    body = f'{{"batch":"{name}","index":{index},"of":{size}}}'.encode()
    return Draft("reliability.written", 1, body, encode_meta(Meta(command=name, index=index, tags=tags)), tags)


def say(line: str) -> None:
    """One line to whoever started this; written at once, so that a kill loses nothing that was said."""
    os.write(1, f"{line}\n".encode())


async def writer(url: str, seed: str) -> None:
    """Sixteen tasks commit batches of one to five events, one or several streams, with a row each; acknowledged ones
    are said. Ends only by being killed."""
    store = open_store(url)
    await store.open()
    say("open")
    chance = random.Random(seed)

    async def one(task: int) -> None:
        for number in itertools.count():
            name = f"{seed}.{task}.{number}"
            streams = chance.sample(range(40), chance.choice([1, 1, 1, 2, 3]))
            size = sum(1 for _ in streams)
            per_stream = chance.choice([1, 1, 2])
            total = size * per_stream
            drafts = [draft(name, index, total) for index in range(total)]
            appends = [
                Append(f"kill-{stream}", drafts[at * per_stream : (at + 1) * per_stream])
                for at, stream in enumerate(streams)
            ]
            row = Put(LEDGER, RowKey("", name), str(total).encode(), if_version=0)
            await store.commit(Batch(appends, [row]))
            say(name)

    await asyncio.gather(*(one(task) for task in range(16)))


async def steady(url: str, seed: str, count: str) -> None:
    """Commits one after the other, `count` of them; says which were acknowledged, which refused, which unavailable."""
    store = open_store(url)
    try:
        await store.open()
    except Unavailable as error:
        say(f"unopened {error}")
        return
    for number in range(int(count)):
        name = f"{seed}.{number}"
        try:
            await store.commit(Batch([Append(f"steady-{number % 7}", [draft(name, index, 2) for index in range(2)])]))
            say(f"acknowledged {name}")
        except Unavailable:
            say(f"unavailable {name}")
    try:
        await store.close()
    except Unavailable as error:
        say(f"unclosed {error}")


async def race(url: str, me: str, rounds: str) -> None:
    """For each line read, one try at a version and one at a tag condition; says which were won."""
    store = open_store(url)
    await store.open()
    say("open")
    for number in range(int(rounds)):
        sys.stdin.readline()
        won = []
        mine = [draft(f"{me}.{number}", 0, 1)]
        if await _wins(store, Append(f"race-{number}", mine, NONE)):
            won.append("version")
        tag = f"round:{number}"
        condition = Condition(Query(tags=(tag,)), 0)
        append = Append(f"tag-{me}.{number}", [draft(f"{me}.{number}", 0, 1, (tag,))], ANY, condition=condition)
        if await _wins(store, append):
            won.append("tag")
        say(" ".join(won) or "nothing")
    await store.close()


async def _wins(store: Store, append: Append) -> bool:
    try:
        await store.commit(Batch([append]))
    except Conflict:
        return False
    return True


async def burst(url: str, me: str, count: str) -> None:
    """Eight tasks write `count` events to streams that other processes write too."""
    store = open_store(url)
    await store.open()
    say("open")
    numbers = iter(range(int(count)))

    async def one() -> None:
        for number in numbers:
            while True:
                try:
                    await store.commit(Batch([Append(f"burst-{number % 50}", [draft(f"{me}.{number}", 0, 1)])]))
                    break
                except Unavailable:
                    await asyncio.sleep(0.01)

    await asyncio.gather(*(one() for _ in range(8)))
    await store.close()


async def tail(url: str, count: str) -> None:
    """Follows the log until `count` events were seen; says how many, whether each version followed the one before it,
    and a digest of the order."""
    store = open_store(url)
    await store.open()
    say("open")
    digest, seen, position, faults = sha256(), 0, 0, 0
    versions: dict[str, int] = {}
    stop = asyncio.Event()
    async for fed in follow(store, Query(), 0, stop):
        for event in fed.events:
            seen += 1
            faults += event.position <= position or event.version != versions.get(event.stream, 0) + 1
            position, versions[event.stream] = event.position, event.version
            digest.update(f"{event.position}:{event.id};".encode())
        if seen >= int(count):
            stop.set()
    say(f"{seen} {faults} {digest.hexdigest()}")
    await store.close()


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    role.__name__: role for role in (writer, steady, race, burst, tail)
}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](*sys.argv[2:]))
