"""Who writes and who reads in `overtaking.py`, each in a process: `python -m tests.reliability.hostile ROLE ...`.

`writers` go through the store; by the settings in their URL (`SLOW`) the server makes them slow, or rolls them back.
`transactions` write the engine's append by hand, each inside a transaction that sleeps, and then commits, rolls back,
or is prepared. `reader` follows.
"""

import asyncio
import os
import random
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from struct import Struct
from typing import Any
from urllib.parse import quote
from zlib import crc32

import psycopg

from foldlog.engines.postgres.address import Address, parse
from foldlog.engines.postgres.statement import begun
from foldlog.errors import Unavailable
from foldlog.flow.subscribe import follow
from foldlog.model.query import Query
from foldlog.model.stream import ANY
from foldlog.ports.store import Append, Batch, Condition, Store
from tests.reliability.child import draft, open_store, say

TASKS = 24  # of a process that writes
WRITTEN, BY_HAND, END = "reliability.written", "reliability.by-hand", "reliability.end"
SEEN = Struct(">qqI")
"""What a reader leaves of an event: position, version, checksum of the stream's name."""
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < current_setting('reliability.slow', true)::float THEN
        PERFORM pg_sleep(random() / 10);
    END IF;
    IF random() < current_setting('reliability.fail', true)::float THEN
        RAISE EXCEPTION 'rolled back on purpose';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow()
"""
"""Positions are taken, and nothing is committed yet: there those wait, or fail, whose settings say how often."""
APPEND = """
WITH begun AS MATERIALIZED ({begun}), h AS (
    INSERT INTO streams AS s (tenant, name, version, before) SELECT '', %(stream)s, %(count)s, -1 FROM begun
    ON CONFLICT (tenant, name) DO UPDATE SET version = s.version + excluded.version, before = s.version
    RETURNING id, version
)
INSERT INTO events (position, stream, version, kind, time, tenant, meta, body)
SELECT nextval('positions'), h.id, h.version - %(count)s + n,
    (SELECT id FROM kinds WHERE type = %(type)s LIMIT 1),
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, '', '{}', '{}'
FROM h, generate_series(1, %(count)s) AS n
"""
"""An append as the engine writes it: from where on its positions are, the stream's row, then the positions, inside the
INSERT."""


def slowed(url: str, slow: float, fail: float) -> str:
    """The URL of a store whose commits the server makes slow, or fail, so often."""
    return f"{url}&options={quote(f'-c reliability.slow={slow} -c reliability.fail={fail}')}"


def appending(schema: str, stream: str, count: int) -> tuple[bytes, dict[str, Any]]:
    """An append by hand, and its parameters; on a connection whose search path is the schema."""
    return APPEND.replace("{begun}", begun(schema)).encode(), {"stream": stream, "count": count, "type": BY_HAND}


async def writers(url: str, me: str, count: str, streams: str) -> None:
    """Tasks write `count` events through the store, in batches of one to five that share commits; now and then on two
    streams, or on condition of a tag. Each batch is tried until it is stored."""
    store, chance = open_store(url), random.Random(me)
    await store.open()
    say("open")
    numbers, left = iter(range(sys.maxsize)), int(count)

    async def one(task: int) -> None:
        nonlocal left
        while left > 0:
            name, size = f"{me}.{next(numbers)}", chance.randint(1, 5)
            left -= size
            await _stored(store, _batch(name, size, f"{streams}-{task}", chance))

    await asyncio.gather(*(one(task) for task in range(TASKS)))
    await store.close()


def _batch(name: str, size: int, stream: str, chance: random.Random) -> Batch:
    tag = f"batch:{name}"
    match chance.choices(["alone", "two", "guarded"], [20, 1, 1])[0]:
        case "two" if size > 1:
            drafts = [draft(name, index, size) for index in range(size)]
            other = f"{stream.partition('-')[0]}-{chance.randrange(TASKS, 2 * TASKS)}"
            return Batch([Append(stream, drafts[:1]), Append(other, drafts[1:])])
        case "guarded":
            tagged = [draft(name, index, size, (tag,)) for index in range(size)]
            return Batch([Append(stream, tagged, ANY, condition=Condition(Query(tags=(tag,)), 0))])
    return Batch([Append(stream, [draft(name, index, size) for index in range(size)])])


async def _stored(store: Store, batch: Batch) -> None:
    while True:
        # Rolled back on purpose: the error is passed on as it is. Unavailable: ended by force, and nothing is stored.
        with suppress(Unavailable, psycopg.Error):
            await store.commit(batch)
            return
        await asyncio.sleep(0.01)


async def transactions(url: str, me: str) -> None:
    """Four connections with one transaction after the other, until this process is killed."""
    say("open")
    await asyncio.gather(*(_connection(parse(url), f"{me}_{number}") for number in range(4)))


async def _connection(address: Address, me: str) -> None:
    chance, number = random.Random(me), 0
    while True:
        with suppress(psycopg.Error):  # ended by force: a new one
            async with await psycopg.AsyncConnection.connect(
                address.conninfo, autocommit=True, options=f"-c search_path={address.schema}"
            ) as conn:
                while True:
                    number += 1
                    await _transaction(conn, address.schema, f"{me}.{number}", chance)


async def _transaction(conn: psycopg.AsyncConnection[Any], schema: str, name: str, chance: random.Random) -> None:
    end = chance.choices(["COMMIT", "ROLLBACK", "PREPARE"], [5, 3, 2])[0]
    await conn.execute("BEGIN")
    for _ in range(chance.choice([1, 1, 2, 3])):
        await conn.execute(*appending(schema, f"hand-{name.partition('.')[0]}", chance.choice([1, 1, 4])))
        await asyncio.sleep(min(chance.expovariate(20), 0.5))
    if end != "PREPARE":
        await conn.execute(end.encode())
        return
    await conn.execute(f"PREPARE TRANSACTION '{schema}.{name}'".encode())
    await asyncio.sleep(chance.uniform(0, 0.3))
    with suppress(psycopg.errors.UndefinedObject):  # whoever clears up behind those that were killed came first
        await conn.execute(f"{chance.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{schema}.{name}'".encode())


async def reader(url: str, path: str, limit: str, anew: str, types: str) -> None:
    """Follow from the start until the event that ends it, by pages of `limit`; after `anew` events (0: never) on a
    store that is opened anew. `types`: only these, comma-separated. All that is seen is left in a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    query = Query(types=tuple(types.split(","))) if types else Query()
    after, ended = 0, False
    say("open")
    while not ended:
        store, stop, seen = open_store(url), asyncio.Event(), 0
        await store.open()
        async for fed in follow(store, query, after, stop, limit=int(limit)):
            after = fed.upto
            seen += len(fed.events)
            ended = any(event.type == END for event in fed.events)
            rows = [SEEN.pack(one.position, one.version, crc32(one.stream.encode())) for one in fed.events]
            os.write(file, b"".join(rows))
            if ended or 0 < int(anew) < seen:
                stop.set()
        await store.close()


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    role.__name__: role for role in (writers, transactions, reader)
}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](*sys.argv[2:]))
