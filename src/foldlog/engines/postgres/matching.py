"""From a query to positions: which events match, in order, found by index and never by looking through the log.

A query becomes terms: SELECTs that each give positions in the order of one index, no more of them than the page takes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.engines.kinds import Kinds, Side, sides_of
from foldlog.engines.postgres.session import Connection, fetch, int8s, texts
from foldlog.model.message import to_micros
from foldlog.model.query import Query

MOST = 2**63 - 1
_COUNTED = 256  # a tag found more often than this is not rare; counting on would cost more than it saves
_SKEW = int(limits.CLOCK_SKEW * 1_000_000)


class Span(NamedTuple):
    """Positions between `low` and `high`, both excluded, of events recorded from `since` to `until` (microseconds)."""

    low: int
    high: int = MOST
    backward: bool = False
    since: int | None = None
    until: int | None = None


class Params:
    """The parameters of a statement that is put together."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


async def span_of(conn: Connection, schema: str, query: Query, after: int, head: int, *, backward: bool) -> Span:
    """The positions that may match, up to the safe head, by `after` and by time.

    Times rise with positions but for what several writers do at the same moment by clocks that differ: the search looks
    that much around.
    """
    low, high = (0, min(after or MOST, head + 1)) if backward else (after, head + 1)
    since = None if query.since is None else to_micros(query.since)
    until = None if query.until is None else to_micros(query.until)
    if since is not None:
        low = max(low, await _first_at(conn, schema, since - _SKEW, head) - 1)
    if until is not None:
        high = min(high, await _first_at(conn, schema, until + _SKEW, head))
    return Span(low, high, backward, since, until)


async def first_match(conn: Connection, schema: str, kinds: Kinds, query: Query, span: Span) -> int | None:
    """The first position of the span whose event matches."""
    sides = sides_of(query, kinds)
    if not sides:
        return None
    params = Params()
    statement = await positions(conn, schema, query, sides, span, 1, params)
    found = await fetch(conn, statement, params.values, once=True)
    return found[0][0] if found else None


async def positions(
    conn: Connection, schema: str, query: Query, sides: Sequence[Side], span: Span, limit: int, params: Params
) -> str:
    """A SELECT of the first `limit` positions of the span, in its direction, whose events match one of the sides."""
    within = f"position > {params.add(span.low)} AND position < {params.add(span.high)}"
    times = times_of(span, params)
    way = "DESC" if span.backward else "ASC"
    ending = f"ORDER BY position {way} LIMIT {params.add(limit)}"
    tenant = None if query.tenant is None else params.add(query.tenant)
    terms: list[str] = []
    for side in sides:
        if side.tags:
            tags = await _by_rarity(conn, schema, side.tags, query.tenant or "", span)
            terms.append(_tag_term(schema, side, [params.add(tag) for tag in tags], tenant, within, times, params))
        else:
            terms.append(_kind_term(schema, query.tenant, side.kinds, tenant, within + times, ending, params))
    if len(terms) == 1:
        return f"{terms[0]} {ending}"
    together = " UNION ".join(f"(SELECT position FROM ({term} {ending}) AS t)" for term in terms)
    return f"SELECT position FROM ({together}) AS u {ending}"


def has_tag(schema: str, tenant: str, tag: str, alias: str) -> str:
    """A look-up by key. Not EXISTS, which would become a join, to be planned together with all others."""
    return (
        f"(SELECT true FROM {schema}.tags AS o WHERE o.tenant = {tenant} AND o.tag = {tag}"
        f" AND o.position = {alias}.position)"
    )


def times_of(span: Span, params: Params) -> str:
    """A condition on the column `time`, to be added to others."""
    bounds = (">=", span.since), ("<=", span.until)
    return "".join([f" AND time {sign} {params.add(time)}" for sign, time in bounds if time is not None])


def _kind_term(
    schema: str,
    named: str | None,
    kinds: list[int] | None,
    tenant: str | None,
    within: str,
    ending: str,
    params: Params,
) -> str:
    """So many of each kind, by its index; whoever asks takes the first of all of them."""
    which = ""
    if tenant is not None:
        which = f" AND tenant = {tenant}" + (" AND tenant > ''" if named else "")
    if kinds is None and not named:
        return f"SELECT position FROM {schema}.events WHERE {within}{which}"
    among = f"(SELECT id FROM {schema}.kinds)" if kinds is None else f"unnest({params.add(int8s(kinds))}::bigint[])"
    return (
        f"SELECT p.position FROM {among} AS k (id) CROSS JOIN LATERAL (SELECT position FROM {schema}.events"
        f" WHERE kind = k.id AND {within}{which} {ending}) AS p"
    )


def _tag_term(
    schema: str, side: Side, tags: Sequence[str], tenant: str | None, within: str, times: str, params: Params
) -> str:
    """Walk along the rarest tag and look the others up."""
    rarest, *others = tags
    where = f"tenant = {tenant} AND tag = {rarest} AND {within}"
    for tag in others:
        where += f" AND {has_tag(schema, str(tenant), tag, 't')}"
    among = "" if side.kinds is None else f" AND kind = ANY({params.add(int8s(side.kinds))}::bigint[])"
    if among or times:
        where += f" AND (SELECT true FROM {schema}.events AS e WHERE e.position = t.position{among}{times})"
    return f"SELECT position FROM {schema}.tags AS t WHERE {where}"


async def _by_rarity(conn: Connection, schema: str, tags: tuple[str, ...], tenant: str, span: Span) -> list[str]:
    if len(tags) == 1:
        return list(tags)
    found = await fetch(
        conn,
        f"SELECT g.tag, (SELECT count(*) FROM (SELECT 1 FROM {schema}.tags AS t WHERE t.tenant = $2 AND t.tag = g.tag"
        f" AND t.position > $3 AND t.position < $4 LIMIT {_COUNTED}) AS c) FROM unnest($1::text[]) AS g (tag)",
        [texts(tags), tenant, span.low, span.high],
    )
    count = dict(found)
    return sorted(tags, key=lambda tag: count[tag])


async def _first_at(conn: Connection, schema: str, time: int, head: int) -> int:
    """The first position recorded at `time` or later, by bisection; one behind the head where there is none."""
    low, high = 0, head + 1
    select = (
        f"SELECT position, time FROM {schema}.events WHERE position >= $1 AND position <= $2 ORDER BY position LIMIT 1"
    )
    while low < high:
        middle = (low + high) // 2
        found = await fetch(conn, select, [middle, head])
        if not found or found[0][1] >= time:
            high = middle
        else:
            low = found[0][0] + 1
    return low
