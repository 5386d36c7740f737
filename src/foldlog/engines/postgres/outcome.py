"""What became of a commit whose answer was lost with the connection.

Each commit raises its writer's row from `seq - 1` to `seq`, in the same statement. Whoever takes the row's lock
afterwards waits for that statement, if it still runs, and then knows: `seq` is there, it stands; it is not, and
raising the row beyond it makes sure that the lost statement, should it only arrive now, finds another number and does
nothing."""

from collections.abc import Sequence
from typing import Any

from foldlog import limits
from foldlog.engines.postgres.group import Done
from foldlog.engines.postgres.session import Connection, fetch, texts
from foldlog.errors import Unavailable
from foldlog.ports.store import Append, Appended, Batch


async def register(conn: Connection, s: str, writer: str) -> None:
    """Make the writer's row, and forget processes that have not written for long."""
    await fetch(conn, f"INSERT INTO {s}.writers VALUES ($1, 0, now())", [writer])
    old = f"DELETE FROM {s}.writers WHERE seen < now() - make_interval(secs => {limits.WRITER_KEPT})"
    await fetch(conn, old)


async def settle(conn: Connection, s: str, writer: str, seq: int, batches: Sequence[Batch]) -> tuple[Done | None, int]:
    """What commit `seq` did, None for nothing, and the number that the row has now. It may be asked again."""
    async with conn.transaction():
        row = f"SELECT seq, xmin::text::bigint FROM {s}.writers WHERE id = $1 FOR UPDATE"
        found = await fetch(conn, row, [writer])
        if not found:
            raise Unavailable(f"whether the last commit stands cannot be found out: writer {writer} was forgotten")
        there, transaction = found[0]
        if there != seq:
            await fetch(conn, f"UPDATE {s}.writers SET seq = $2, seen = now() WHERE id = $1", [writer, seq + 1])
            return None, seq + 1
    events = await _events(conn, s, transaction, [append for batch in batches for append in batch.appends])
    answers: list[list[Appended] | None] = []
    for batch in batches:
        mine = [events.get((append.tenant, append.stream)) for append in batch.appends]
        answers.append(None if None in mine else [one for one in mine if one is not None])
    return Done(answers, []), seq


async def _events(
    conn: Connection, s: str, transaction: int, appends: Sequence[Append]
) -> dict[tuple[str, str], Appended]:
    """What the transaction appended to each stream."""
    params: list[Any] = [texts([one.tenant for one in appends]), texts([one.stream for one in appends])]
    found = await fetch(
        conn,
        "SELECT a.tenant, a.name, max(e.version), max(e.position), max(e.time)"
        f" FROM unnest($1::text[], $2::text[]) AS a (tenant, name)"
        f" JOIN {s}.streams AS s ON s.tenant = a.tenant AND s.name = a.name"
        f" CROSS JOIN LATERAL (SELECT version, position, time, xmin FROM {s}.events WHERE stream = s.id"
        " ORDER BY version DESC LIMIT $3) AS e WHERE e.xmin::text::bigint = $4 GROUP BY a.tenant, a.name",
        [*params, 2 * limits.BATCH_EVENTS, transaction],
    )
    return {(tenant, name): Appended(version, position, time) for tenant, name, version, position, time in found}
