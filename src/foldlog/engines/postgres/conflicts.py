"""Why a batch was refused: what its conditions meet, looked at after the fact."""

from collections.abc import Sequence

from foldlog.engines.batch import condition_conflict, row_conflict, row_holds, stream_conflict, version_holds
from foldlog.engines.kinds import Kinds
from foldlog.engines.postgres.kinds import refresh
from foldlog.engines.postgres.matching import Span, first_match
from foldlog.engines.postgres.rows import version
from foldlog.engines.postgres.session import Connection, fetch, texts
from foldlog.engines.postgres.tables import Tables
from foldlog.errors import Conflict
from foldlog.ports.store import Append, Batch


async def reason(
    conn: Connection, schema: str, kinds: Kinds, tables: Tables, batch: Batch, now: int
) -> Conflict | None:
    """The first condition of the batch that does not hold; None when all of them do by now."""
    if batch.appends:
        there = await _heads(conn, schema, batch.appends)
        for append in batch.appends:
            actual = there.get((append.tenant, append.stream), 0)
            if not version_holds(append.expected, actual):
                return stream_conflict(append, actual)
            if append.condition is not None:
                await refresh_kinds(conn, schema, kinds)
                condition = append.condition
                found = await first_match(conn, schema, kinds, condition.query, Span(condition.after))
                if found is not None:
                    return condition_conflict(condition, found)
    for change in batch.rows:
        if change.if_version is not None:
            actual = await version(conn, tables, change.table, change.key, now)
            if not row_holds(change.if_version, actual):
                return row_conflict(change, actual)
    return None


async def refresh_kinds(conn: Connection, schema: str, kinds: Kinds) -> None:
    """Know every kind that is there now."""
    ((newest,),) = await fetch(conn, f"SELECT coalesce(max(id), 0) FROM {schema}.kinds")
    await refresh(kinds, conn, schema, newest)


async def _heads(conn: Connection, schema: str, appends: Sequence[Append]) -> dict[tuple[str, str], int]:
    found = await fetch(
        conn,
        f"SELECT s.tenant, s.name, s.version FROM unnest($1::text[], $2::text[]) AS a (tenant, name)"
        f" JOIN {schema}.streams AS s ON s.tenant = a.tenant AND s.name = a.name",
        [texts([one.tenant for one in appends]), texts([one.stream for one in appends])],
    )
    return {(tenant, name): version for tenant, name, version in found}
