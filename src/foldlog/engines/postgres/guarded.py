"""Batches on conditions that one statement cannot hold by itself: that nothing new matches a query, that a row is
absent.

A transaction of several statements, sent at once. Locks are taken in an earlier statement than the check: within one,
the check would see the log as it was before it waited, and could miss an event committed meanwhile."""

import logging
from typing import Any

from foldlog.engines.kinds import Kinds, sides_of
from foldlog.engines.postgres.group import Group
from foldlog.engines.postgres.locks import Locks
from foldlog.engines.postgres.matching import Params, Span, positions
from foldlog.engines.postgres.session import Connection, int8s, texts
from foldlog.engines.postgres.tables import Stored
from foldlog.ports.store import Condition, Table

# A refused condition ends a pipeline; psycopg would warn each time that what stood behind it was not done.
logging.getLogger("psycopg").addFilter(lambda record: "error ignored terminating" not in str(record.msg))

Statement = tuple[str, list[Any]]
_LOCK = (
    "SELECT count(CASE WHEN g.alone = 1 THEN pg_advisory_xact_lock(g.key) ELSE pg_advisory_xact_lock_shared(g.key) END)"
    " FROM unnest($1::bigint[], $2::bigint[]) AS g (key, alone)"
)


async def write(
    conn: Connection,
    schema: str,
    kinds: Kinds,
    locks: Locks,
    group: Group,
    stored: dict[Table, Stored],
    statement: Statement,
) -> Any:
    """Run the group's statement between its locks and checks, and what has to follow it; its one row."""
    before: list[Statement] = []
    if group.conditions:
        guarded = {key for condition in group.conditions for key in locks.guarded(condition.query)}
        keys = sorted({*guarded, *group.locks(locks)})
        before.append((_LOCK, [int8s(keys), int8s([int(key in guarded) for key in keys])]))
        before += [await _check(conn, schema, kinds, condition) for condition in group.conditions]
    # Only what this transaction has made: where the batch stayed out, the row that is there is somebody else's.
    mine = "tenant = $1 AND key = ANY($2::text[]) AND xmin = pg_current_xact_id()::xid"
    after = [
        (f"DELETE FROM {stored[one.table].name} WHERE {mine}", [one.key.tenant, texts([one.key.key])])
        for one in group.absent
    ]
    async with conn.pipeline():
        await fetch_later(conn, "BEGIN")
        for text, params in before:
            await fetch_later(conn, text, params)
        cursor = await fetch_later(conn, *statement)
        for text, params in after:
            await fetch_later(conn, text, params)
        await fetch_later(conn, "COMMIT")
    return await cursor.fetchone()


async def fetch_later(conn: Connection, text: str, params: Any = ()) -> Any:
    """Send a statement; its answer is there when the pipeline ends."""
    return await conn.execute(text.encode(), params, binary=True)


async def _check(conn: Connection, schema: str, kinds: Kinds, condition: Condition) -> Statement:
    params = Params()
    holds = f"(SELECT coalesce(max(id), 0) FROM {schema}.kinds) = {params.add(kinds.newest)}"  # else look them up first
    sides = sides_of(condition.query, kinds)
    if sides:
        found = await positions(conn, schema, condition.query, sides, Span(condition.after), 1, params)
        holds += f" AND NOT EXISTS ({found})"
    return f"SELECT {schema}.hold({holds})", params.values


async def purge(conn: Connection, stored: Stored, now: int, most: int) -> None:
    """Remove some of the rows past their time. Nobody waits for it to be durable."""
    async with conn.pipeline():
        await fetch_later(conn, "BEGIN")
        await fetch_later(conn, "SET LOCAL synchronous_commit = off")
        await fetch_later(
            conn,
            f"DELETE FROM {stored.name} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {stored.name} WHERE expires <= $1"
            " ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED))",
            [now, most],
        )
        await fetch_later(conn, "COMMIT")
