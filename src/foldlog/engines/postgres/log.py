"""Pages of the log. Those in order of positions end at the safe head; those of one stream need no such end, because a
stream's versions come one after another."""

from typing import Any

from foldlog import limits
from foldlog.engines.kinds import Kinds, sides_of
from foldlog.engines.postgres.kinds import Streams, refresh
from foldlog.engines.postgres.loads import Loads
from foldlog.engines.postgres.matching import Params, Span, has_tag, positions, span_of, times_of
from foldlog.engines.postgres.pool import Pool
from foldlog.engines.postgres.safe_head import SafeHead
from foldlog.engines.postgres.session import Connection, fetch, int8s
from foldlog.engines.postgres.tail import CONTENTS, Tail
from foldlog.model.message import Recorded, to_micros
from foldlog.model.query import Query
from foldlog.ports.store import Page

_FEW = 8  # of the large ones at once
_COLUMNS = f"e.position, e.stream, e.version, e.kind, e.time, {CONTENTS}"

RawEvent = tuple[int, int, int, int, int, bytes, bytes]  # as in _COLUMNS


class Log:
    """Reads the log, on the connections of the pool; what it keeps is shared by all of them."""

    def __init__(self, schema: str, log: str, kinds: Kinds, head: SafeHead, pool: Pool) -> None:
        self._schema, self._log, self._pool = schema, log, pool
        self._kinds, self._streams, self._head = kinds, Streams(schema), head
        self._tail = Tail(schema, log, kinds, head, pool)
        self._loads = Loads(schema, _COLUMNS, kinds, pool)

    async def read(self, query: Query, after: int, limit: int, *, backward: bool) -> Page:
        if query.stream is None and not backward:
            page = await self._tail.page(query, after, limit)
            if page is not None:
                return page
        if query.stream is not None:
            return await self._load(query, after, limit, backward=backward)
        return await self._pool.run(lambda conn: self._read(conn, query, after, limit, backward=backward))

    async def _load(self, query: Query, after: int, limit: int, *, backward: bool) -> Page:
        """A page of one stream: by itself, or with those of others where many are asked for."""
        loads = self._loads
        whole = not backward and limit >= limits.PAGE and query == Query(stream=query.stream, tenant=query.tenant)
        if whole and loads.busy:
            rows = await loads.rows(query.tenant or "", query.stream or "", after)
            if rows is not None:
                return Page(self._recorded(query, rows), more=False, head=self._head.value)
        loads.alone += 1
        try:
            return await self._pool.run(lambda conn: self._read(conn, query, after, limit, backward=backward))
        finally:
            loads.alone -= 1

    async def _read(self, conn: Connection, query: Query, after: int, limit: int, *, backward: bool) -> Page:
        if query.stream is not None:
            await self._know_kinds(conn, query)
            rows, more = await self._of_stream(conn, query, after, limit, backward=backward)
            return Page(await self._of_one_stream(conn, query, rows), more, self._head.value)
        known = self._head.value
        if not backward and known - after > limit:
            # Far behind: a page that is full below the head as it is known needs no newer one.
            page = await self._by_position(conn, query, after, limit, known, backward=False)
            if page.more:
                return page
        head = await self._head.look(conn)
        return await self._by_position(conn, query, after, limit, head, backward=backward)

    async def _by_position(
        self, conn: Connection, query: Query, after: int, limit: int, head: int, *, backward: bool
    ) -> Page:
        await self._know_kinds(conn, query)
        sides = sides_of(query, self._kinds)
        span = await span_of(conn, self._schema, query, after, head, backward=backward) if sides else Span(0, 0)
        if span.low >= span.high - 1:
            return Page([], more=False, head=head)
        params = Params()
        way = "DESC" if backward else "ASC"
        if query.tenant is None and any(side == (None, ()) for side in sides):
            where = f"position > {params.add(span.low)} AND position < {params.add(span.high)}{times_of(span, params)}"
            statement = f"SELECT {_COLUMNS} FROM {self._schema}.events AS e WHERE {where}"
            once = False
        else:
            found = await positions(conn, self._schema, query, sides, span, limit + 1, params)
            statement = f"SELECT {_COLUMNS} FROM ({found}) AS p JOIN {self._schema}.events AS e USING (position)"
            once = len(sides) > 1 or bool(query.tags)
        rows, more = await self._page(conn, f"{statement} ORDER BY position {way}", params, limit, once=once)
        return Page(await self._of_many_streams(conn, rows), more, head)

    async def _of_stream(
        self, conn: Connection, query: Query, after: int, limit: int, *, backward: bool
    ) -> tuple[list[RawEvent], bool]:
        sides = sides_of(query, self._kinds)
        if not sides:
            return [], False
        s, params = self._schema, Params()
        tenant = params.add(query.tenant)
        where = f"e.stream = (SELECT id FROM {s}.streams WHERE tenant = {tenant} AND name = {params.add(query.stream)})"
        if after or not backward:
            where += f" AND e.version {'<' if backward else '>'} {params.add(after)}"
        since = None if query.since is None else to_micros(query.since)
        until = None if query.until is None else to_micros(query.until)
        where += times_of(Span(0, 0, since=since, until=until), params)
        alternatives: list[str] = []
        for side in sides:
            said = [has_tag(s, tenant, params.add(tag), "e") for tag in side.tags]
            if side.kinds is not None:
                said.append(f"e.kind = ANY({params.add(int8s(side.kinds))}::bigint[])")
            alternatives.append(" AND ".join(said) or "TRUE")
        if alternatives != ["TRUE"]:
            where += f" AND ({' OR '.join(alternatives)})"
        statement = f"SELECT {_COLUMNS} FROM {s}.events AS e WHERE {where}"
        way = "DESC" if backward else "ASC"
        return await self._page(conn, f"{statement} ORDER BY e.version {way}", params, limit, once=len(sides) > 1)

    async def _know_kinds(self, conn: Connection, query: Query) -> None:
        """Every kind that an event of the page may be of, if the query asks for kinds."""
        if query.stream is not None and (query.types or query.category or query.any_of):
            ((newest,),) = await fetch(conn, f"SELECT coalesce(max(id), 0) FROM {self._schema}.kinds")
            await refresh(self._kinds, conn, self._schema, newest)
        await refresh(self._kinds, conn, self._schema, self._head.newest_kind)

    async def _page(
        self, conn: Connection, statement: str, params: Params, limit: int, *, once: bool
    ) -> tuple[list[RawEvent], bool]:
        """At most `limit` rows and PAGE_BYTES of what the statement finds, one at least, and whether there is more."""
        rows: list[Any] = await fetch(conn, f"{statement} LIMIT {params.add(limit + 1)}", params.values, once=once)
        size = 0
        for number, row in enumerate(rows):
            if number == limit:
                return rows[:limit], True
            if row[5] is None or row[6] is None:
                await self._fill(conn, rows, number)
                row = rows[number]  # noqa: PLW2901 - filled in
            size += len(row[5]) + len(row[6])
            if size > limits.PAGE_BYTES and number:
                return rows[:number], True
        return rows, False

    async def _fill(self, conn: Connection, rows: list[Any], first: int) -> None:
        """Read the next few large events from `first` on."""
        missing = [n for n in range(first, len(rows)) if rows[n][5] is None or rows[n][6] is None][:_FEW]
        found = await fetch(
            conn,
            f"SELECT position, meta, body FROM {self._schema}.events WHERE position = ANY($1::bigint[])",
            [int8s([rows[n][0] for n in missing])],
        )
        whole = {position: (meta, body) for position, meta, body in found}
        for number in missing:
            rows[number] = (*rows[number][:5], *whole[rows[number][0]])

    async def _of_one_stream(self, conn: Connection, query: Query, rows: list[RawEvent]) -> list[Recorded[Any]]:
        # Kinds are committed before the events that refer to them, so those of what was read are there now.
        await refresh(self._kinds, conn, self._schema, max([row[3] for row in rows], default=0))
        return self._recorded(query, rows)

    def _recorded(self, query: Query, rows: list[RawEvent]) -> list[Recorded[Any]]:
        kinds, log, tenant, stream = self._kinds.by_id, self._log, query.tenant or "", query.stream or ""
        return [
            Recorded(position, tenant, stream, version, kinds[kind], time, meta, body, log)
            for position, _, version, kind, time, meta, body in rows
        ]

    async def _of_many_streams(self, conn: Connection, rows: list[RawEvent]) -> list[Recorded[Any]]:
        kinds, log = self._kinds.by_id, self._log
        names = await self._streams.names(conn, [row[1] for row in rows])
        return [
            Recorded(position, name[0], name[1], version, kinds[kind], time, meta, body, log)
            for position, stream, version, kind, time, meta, body in rows
            for name in (names[stream],)  # an assignment; a third faster than *names[stream] above
        ]
