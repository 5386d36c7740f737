"""One commit as one SQL statement: every condition and every change of a group of batches, by arrays.

It is atomic by itself, so no transaction ever waits for the client. A batch whose streams are seen to have another
version stays out, with its events and rows. A stream that moves on while the statement waits for it stays out by the
upsert; where that tears a batch of several streams, and where any other condition does not hold, the statement ends
(`hold`), and the writer goes on with the group once more, or with its halves.

Each step reads the one before, which is what orders them: `begun` says where positions will begin, `locks` waits for
conditions by tag, `asked` looks at the versions, `h` takes the streams' row locks in the order of their names, and `e`
reads all of `heads` before it calls nextval, inside the INSERT. So versions and positions never disagree.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, count
from typing import NamedTuple

from foldlog.model.stream import ANY, EXISTS

INSERT, PUT, REPLACE, REMOVE, DELETE, CHECK = "insert", "put", "replace", "remove", "delete", "check"
WRITING = {INSERT, PUT, REPLACE}  # these carry a row
WANTING = {REPLACE, REMOVE, CHECK}  # these carry a version
CONDITIONAL = {INSERT, REPLACE, REMOVE, CHECK}  # these may end the statement


class Op(NamedTuple):
    """One sort of change of one table: `table` is its physical name, `width` the number of its indexes."""

    what: str
    table: str
    width: int
    expiring: bool


class Shape(NamedTuple):
    """What a statement depends on. `several`: there are batches with more than one stream. `alone`: there is one append
    in all, `single`: one event; these come as plain values, since a function that makes rows of arrays costs as much as
    a step of the plan."""

    appends: bool
    alone: bool
    single: bool
    tags: bool
    several: bool
    ops: tuple[Op, ...]


def begun(s: str) -> str:
    """SQL that says which positions an append may come to own: only those behind the sequence's value as it is now.

    It stands as an advisory lock that hinders nobody, because others see locks while the transaction is open
    (safe_head.py): 20 bits of the table's number, 44 of the position. Whoever takes positions without it may own any.
    """
    table = f"('{s}.events'::regclass::oid::bigint & 1048575) << 12"
    return (
        f"SELECT count(pg_advisory_xact_lock_shared(((({table} | (p >> 32)) << 32) >> 32)::integer,"
        " ((p << 32) >> 32)::integer)) FROM"
        f" (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS p FROM {s}.positions) AS l"
        " WHERE p < 1::bigint << 44"
    )


@lru_cache(maxsize=1_024)
def text(shape: Shape, s: str) -> str:
    """The statement. Its parameters, in order: writer, seq, now; with appends `locks`, those of `asked` and of the
    events, and with tags theirs; then for each op what `inputs` says."""
    number = count(1)
    holds: list[str] = []
    me = f"seq = ${next(number)}, seen = now() WHERE id = ${next(number)} AND seq = $1 - 1"
    parts = [f"w AS (UPDATE {s}.writers SET {me} RETURNING 1)"]
    now = f"${next(number)}::bigint"
    found: list[str] = []
    if shape.appends:
        parts += _appends(shape, s, number, now)
        found += [
            "(SELECT array_agg(position) FROM e)",
            "(SELECT time FROM clock)",
            "(SELECT array_agg(slot) FROM heads)",
            "(SELECT array_agg(version) FROM heads)",
        ]
        if shape.several:
            holds.append(
                "NOT EXISTS (SELECT 1 FROM asked AS a LEFT JOIN heads AS o ON o.slot = a.slot GROUP BY a.batch"
                " HAVING count(o.slot) NOT IN (0, count(*)))"
            )
    for place, op in enumerate(shape.ops):
        parts += _op(op, place, number, now, appends=shape.appends)
        if op.what in CONDITIONAL:
            holds.append(f"(SELECT count(*) FROM r{place}) = (SELECT count(*) FROM x{place})")
    found.append("(SELECT count(*) FROM w)")
    if holds:
        found.append(f"{s}.hold({' AND '.join(holds)})")
    return f"WITH {', '.join(parts)} SELECT {', '.join(found)}"


def inputs(op: Op) -> list[str]:
    """The columns that an op is given, with their types."""
    columns = ["slot bigint", "tenant text", "key text"]
    if op.what in WRITING:
        columns += ["value bytea", "position bigint", "expires bigint"]
        if op.width:
            columns += ["shown text", *(f"i{i} bytea" for i in range(op.width))]
    if op.what in WANTING:
        columns.append("wanted bigint")
    return columns


def _given(columns: list[str], number: Iterator[int], alias: str, place: str = "", *, one: bool = False) -> str:
    """Rows from arrays, or `one` from plain values. `place`: the name of one more column, that counts them from 1."""
    names = ", ".join([*(column.split()[0] for column in columns), *([place] if place else [])])
    values = [f"${next(number)}::{column.split()[1]}" for column in columns]
    if one:
        return f"(VALUES ({', '.join([*values, *(['1::bigint'] if place else [])])})) AS {alias} ({names})"
    arrays = ", ".join(f"{value}[]" for value in values)
    return f"unnest({arrays}) {'WITH ORDINALITY ' if place else ''}AS {alias} ({names})"


def _appends(shape: Shape, s: str, number: Iterator[int], now: str) -> Iterator[str]:
    yield f"begun AS MATERIALIZED ({begun(s)})"
    # Shared locks on the slots of the types and tags that are written: whoever appends on a condition waits for them.
    yield (
        "locks AS MATERIALIZED (SELECT (SELECT count(pg_advisory_xact_lock_shared(k))"
        f" FROM unnest(${next(number)}::bigint[]) AS k) FROM w, begun)"
    )
    # `skip`: how many events stand before those of the append.
    columns = ["tenant text", "name text", "expected bigint", "count bigint", "skip bigint"]
    columns += ["batch bigint"] if shape.several else []
    there = f"FROM {s}.streams AS x WHERE x.tenant = a.tenant AND x.name = a.name"
    fits = (
        f"CASE expected WHEN {ANY} THEN true WHEN {EXISTS} THEN (SELECT true {there})"
        f" ELSE coalesce((SELECT version {there}), 0) = expected END"
    )
    appends = _given(columns, number, "a", "slot", one=shape.alone)
    yield f"asked AS MATERIALIZED (SELECT a.*, {fits} AS fits FROM locks, {appends})"
    stands = "batch NOT IN (SELECT batch FROM asked WHERE fits IS NOT TRUE)" if shape.several else "fits"
    # `before` carries the expected version: streams are only made where none was expected.
    yield (
        f"h AS (INSERT INTO {s}.streams AS s (tenant, name, version, before)"
        f" SELECT tenant, name, count, expected FROM asked WHERE {stands} ORDER BY tenant, name"
        " ON CONFLICT (tenant, name) DO UPDATE SET version = s.version + excluded.version, before = s.version"
        " WHERE excluded.before < 0 OR s.version = excluded.before RETURNING id, tenant, name, version)"
    )
    yield (
        "heads AS MATERIALIZED (SELECT a.slot, h.id, h.tenant, h.version, h.version - a.count - a.skip AS before"
        " FROM h JOIN asked AS a ON a.tenant = h.tenant AND a.name = h.name)"
    )
    # Clocks may go back; the log's time does not.
    last = f"SELECT time FROM {s}.events ORDER BY position DESC LIMIT 1"
    yield f"clock AS MATERIALIZED (SELECT greatest({now}, (SELECT time FROM ({last}) AS l)) AS time)"
    first = next(number)
    columns = ["slot bigint", "kind bigint", "meta bytea", "body bytea"]
    events = _given(columns, chain([first], number), "d", "place", one=shape.single)
    yield (
        f"e AS (INSERT INTO {s}.events (position, stream, version, kind, time, tenant, meta, body)"
        f" SELECT nextval('{s}.positions'), stream, version, kind, time, tenant, meta, body FROM ("
        "SELECT o.id AS stream, o.before + d.place AS version, d.kind, clock.time, o.tenant, d.meta, d.body"
        f" FROM {events} JOIN heads AS o ON o.slot = d.slot CROSS JOIN clock ORDER BY d.place"
        ") AS d RETURNING position)"
    )
    if shape.tags:
        # An event's position by its rank among those that were written (0: it was not), both in arrays: a join of tags
        # and events would be planned for a few rows and meet thousands. So would an outer join of events and heads; a
        # look whether the slot is there is hashed.
        places = _given(["slot bigint"], iter([first]), "d", "place", one=shape.single)
        yield (
            "ranks AS MATERIALIZED (SELECT array_agg(CASE WHEN there THEN rank ELSE 0 END ORDER BY place) AS ranks"
            " FROM (SELECT place, there, count(*) FILTER (WHERE there) OVER (ORDER BY place) AS rank"
            f" FROM (SELECT d.place, d.slot IN (SELECT slot FROM heads) AS there FROM {places}) AS d) AS d)"
        )
        tags = _given(["tenant text", "tag text", "place bigint"], number, "d")
        yield (
            f"t AS (INSERT INTO {s}.tags (tenant, tag, position) SELECT d.tenant, d.tag, p.positions[r.ranks[d.place]]"
            f" FROM {tags} CROSS JOIN ranks AS r CROSS JOIN (SELECT array_agg(position) AS positions FROM e) AS p"
            " WHERE r.ranks[d.place] > 0)"
        )


def _op(op: Op, place: int, number: Iterator[int], now: str, *, appends: bool) -> Iterator[str]:
    """What is given (`x`), less that of batches whose stream stays out, and what was done (`r`)."""
    columns = inputs(op)
    given = _given(columns, number, "x")
    where = " WHERE x.slot = 0 OR x.slot IN (SELECT slot FROM heads)" if appends else ""
    yield f"x{place} AS MATERIALIZED (SELECT x.* FROM w, {given}{where})"
    x, r = f"x{place}", f"r{place}"
    names = [column.split()[0] for column in columns if column.split()[0] not in {"slot", "tenant", "key", "wanted"}]
    alive = f" AND (r.expires IS NULL OR r.expires > {now})" if op.expiring else ""
    same = "r.tenant = x.tenant AND r.key = x.key"
    match op.what:
        case "insert" | "put":
            into = ", ".join(["tenant", "key", "version", *names])
            insert = (
                f"INSERT INTO {op.table} AS r ({into}) SELECT {into.replace('version', '1', 1)} FROM {x}"
                " ORDER BY tenant, key ON CONFLICT (tenant, key)"
            )
            replaced = ", ".join(f"{name} = excluded.{name}" for name in names)
            if op.what == INSERT:
                absent = f"DO UPDATE SET version = 1, {replaced} WHERE r.expires <= {now}"
                yield f"{r} AS ({insert} {absent if op.expiring else 'DO NOTHING'} RETURNING 1)"
            else:
                version = (
                    f"CASE WHEN r.expires <= {now} THEN 1 ELSE r.version + 1 END" if op.expiring else "r.version + 1"
                )
                yield f"{r} AS ({insert} DO UPDATE SET version = {version}, {replaced})"
        case "replace":
            replaced = ", ".join(f"{name} = x.{name}" for name in names)
            yield (
                f"{r} AS (UPDATE {op.table} AS r SET version = r.version + 1, {replaced} FROM {x} AS x"
                f" WHERE {same} AND r.version = x.wanted{alive} RETURNING 1)"
            )
        case "remove":
            wanted = f"r.version = x.wanted{alive}"
            yield f"{r} AS (DELETE FROM {op.table} AS r USING {x} AS x WHERE {same} AND {wanted} RETURNING 1)"
        case "delete":
            yield f"{r} AS (DELETE FROM {op.table} AS r USING {x} AS x WHERE {same})"
        case _:
            yield (
                f"{r} AS (SELECT 1 FROM {op.table} AS r JOIN {x} AS x ON {same} AND r.version = x.wanted{alive}"
                " FOR SHARE OF r)"
            )
