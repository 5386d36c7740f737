"""The small tables that events refer to by number, in memory: kinds and stream names."""

from collections.abc import Iterable
from typing import cast

from foldlog import limits
from foldlog.engines.kinds import Kinds, Said
from foldlog.engines.postgres.locks import Locks
from foldlog.engines.postgres.session import Connection, fetch, int8s


async def refresh(kinds: Kinds, conn: Connection, schema: str, newest: int) -> None:
    """Know all kinds up to `newest`."""
    if newest > kinds.newest:
        found = await fetch(
            conn,
            f"SELECT id, category, type, schema, encoding FROM {schema}.kinds WHERE id > $1 ORDER BY id",
            [kinds.newest],
        )
        for number, *said in found:
            kinds.add(number, cast(Said, tuple(said)))


async def ensure(kinds: Kinds, conn: Connection, schema: str, locks: Locks, wanted: Iterable[Said]) -> None:
    """Have an id for each of these kinds. It is committed before any event refers to it: whoever sees the event finds
    the kind. Under a lock, so that ids rise without gaps in the order of commits; a new kind is rare."""
    missing = [said for said in wanted if said not in kinds.ids]
    if not missing:
        return
    async with conn.transaction():
        await fetch(conn, "SELECT pg_advisory_xact_lock($1)", [locks.kinds])
        (row,) = await fetch(conn, f"SELECT coalesce(max(id), 0) FROM {schema}.kinds")
        await refresh(kinds, conn, schema, row[0])
        number = row[0]
        made: list[tuple[int, Said]] = []
        for said in missing:
            if said not in kinds.ids:
                number += 1
                await fetch(conn, f"INSERT INTO {schema}.kinds VALUES ($1, $2, $3, $4, $5)", [number, *said])
                made.append((number, said))
    for number, said in made:
        kinds.add(number, said)


class Streams:
    """(tenant, name) of streams by id; a bounded cache, shared by readers."""

    def __init__(self, schema: str) -> None:
        self._select = f"SELECT id, tenant, name FROM {schema}.streams WHERE id = ANY($1)"
        self._names: dict[int, tuple[str, str]] = {}

    async def names(self, conn: Connection, ids: Iterable[int]) -> dict[int, tuple[str, str]]:
        """A dictionary with at least these ids."""
        wanted = set(ids)
        names = self._names
        missing = wanted.difference(names)
        if missing:
            if len(names) + len(missing) > limits.STREAM_CACHE:
                # Others may be using the full one: leave it to them, and go on with a new one.
                names = self._names = {}
                missing = wanted
            for number, tenant, name in await fetch(conn, self._select, [int8s(list(missing))]):
                names[number] = tenant, name
        return names
