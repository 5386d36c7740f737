"""From a query to positions: which events match, in order, found by index and never by looking through the log.

A query becomes one or more terms: SELECTs that each give positions in the order of one index. SQLite merges them
(UNION ALL … ORDER BY over ordered terms is a merge, not a sort), so that a page costs what it returns.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from typing import Any, NamedTuple

import apsw

from foldlog.engines.kinds import Side
from foldlog.engines.sqlite.kinds import Kinds
from foldlog.model.message import to_micros
from foldlog.model.query import Query

MOST = 2**63 - 1
_TAGS = ("by_tag", "by_tag_new")
_TERMS = 400  # of one statement; SQLite takes 500
_COUNTED = 256  # a tag found more often than this is not rare; counting on would cost more than it saves


class Span(NamedTuple):
    """Positions between `low` and `high`, both excluded."""

    low: int
    high: int
    backward: bool = False


def span_of(conn: apsw.Connection, query: Query, after: int, head: int, *, backward: bool) -> Span:
    """The positions that may match by `after` and by time."""
    low, high = (0, after or MOST) if backward else (after, MOST)
    if query.since is not None:
        low = max(low, _first_at(conn, to_micros(query.since), head) - 1)
    if query.until is not None:
        high = min(high, _first_at(conn, to_micros(query.until) + 1, head))
    return Span(low, high, backward)


def is_everything(conn: apsw.Connection, query: Query, sides: Sequence[Side]) -> bool:
    """Whether the query takes each event of the log."""
    whole = any(side == (None, ()) for side in sides)
    return whole and (query.tenant is None or (query.tenant == "" and _only_default_tenant(conn)))


def positions(
    conn: apsw.Connection, kinds: Kinds, query: Query, sides: Sequence[Side], span: Span, limit: int
) -> list[int]:
    """The first `limit` positions of the span, in its direction, whose events match one of the sides."""
    if span.low >= span.high - 1:
        return []
    params: dict[str, Any] = {"low": span.low, "high": span.high, "limit": limit, "tenant": query.tenant}
    terms: list[str] = []
    for number, side in enumerate(sides):
        if side.tags:
            terms.extend(_tag_terms(conn, side, f"t{number}_", params, span))
        else:
            terms.extend(_kind_terms(conn, kinds, query.tenant, side.kinds))
    together = " UNION ALL " if len(sides) == 1 else " UNION "
    order = f" ORDER BY position {'DESC' if span.backward else 'ASC'} LIMIT :limit"
    chunks = [terms[i : i + _TERMS] for i in range(0, len(terms), _TERMS)]
    found = [[row[0] for row in conn.execute(together.join(chunk) + order, params)] for chunk in chunks]
    if len(found) == 1:
        return found[0]
    return list(islice(_unique(merge(*found, reverse=span.backward)), limit))


def in_list(ids: Iterable[int]) -> str:
    return f"({','.join(map(str, ids))})"


def array_of(numbers: Iterable[int]) -> "apsw.CArrayBinding":
    return apsw.carray(array("q", numbers))


def _kind_terms(conn: apsw.Connection, kinds: Kinds, tenant: str | None, chosen: list[int] | None) -> list[str]:
    """One term a kind: SQLite merges them."""
    within = "position > :low AND position < :high"
    if tenant:
        ids = kinds.ids.values() if chosen is None else chosen
        by_tenant = "SELECT position FROM events INDEXED BY events_by_tenant WHERE tenant = :tenant AND tenant > ''"
        return [f"{by_tenant} AND kind = {kind} AND {within}" for kind in ids]
    if tenant == "" and not _only_default_tenant(conn):
        within += " AND tenant = ''"
    if chosen is None:
        return [f"SELECT position FROM events WHERE {within}"]
    return [
        f"SELECT position FROM events INDEXED BY events_by_kind WHERE kind = {kind} AND {within}" for kind in chosen
    ]


def _tag_terms(conn: apsw.Connection, side: Side, prefix: str, params: dict[str, Any], span: Span) -> list[str]:
    """Walk along the rarest tag and look the others up; in both tables, which have no entry in common."""
    rarest, *others = _by_rarity(conn, side.tags, params["tenant"], span)
    params[f"{prefix}0"] = rarest
    where = f"tenant = :tenant AND tag = :{prefix}0 AND position > :low AND position < :high"
    for number, tag in enumerate(others, 1):
        params[f"{prefix}{number}"] = tag
        where += f" AND {has_tag(f':{prefix}{number}', 't')}"
    if side.kinds is not None:
        where += f" AND (SELECT kind FROM events AS e WHERE e.position = t.position) IN {in_list(side.kinds)}"
    return [f"SELECT position FROM {table} AS t WHERE {where}" for table in _TAGS]


def has_tag(parameter: str, alias: str) -> str:
    found = [
        f"EXISTS (SELECT 1 FROM {table} AS o WHERE o.tenant = :tenant"
        f" AND o.tag = {parameter} AND o.position = {alias}.position)"
        for table in _TAGS
    ]
    return f"({' OR '.join(found)})"


def _by_rarity(conn: apsw.Connection, tags: tuple[str, ...], tenant: str, span: Span) -> list[str]:
    if len(tags) == 1:
        return list(tags)
    each = [
        f"SELECT 1 FROM {table} WHERE tenant = :tenant AND tag = :tag AND position > :low AND position < :high"
        for table in _TAGS
    ]
    count = f"SELECT count(*) FROM ({' UNION ALL '.join(each)} LIMIT {_COUNTED})"
    within = {"tenant": tenant, "low": span.low, "high": span.high}
    return sorted(tags, key=lambda tag: conn.execute(count, within | {"tag": tag}).get)


def _only_default_tenant(conn: apsw.Connection) -> bool:
    return conn.execute("SELECT 1 FROM streams WHERE tenant > '' LIMIT 1").get is None


def _first_at(conn: apsw.Connection, time: int, head: int) -> int:
    """The first position recorded at `time` or later, by bisection; one behind the head where there is none."""
    low, high = 0, head + 1
    while low < high:
        middle = (low + high) // 2
        position, found = conn.execute(
            "SELECT position, time FROM events WHERE position >= ? ORDER BY position LIMIT 1", (middle,)
        ).get
        if found >= time:
            high = middle
        else:
            low = position + 1
    return low


def _unique(numbers: Iterable[int]) -> Iterator[int]:
    return (number for number, _ in groupby(numbers))
