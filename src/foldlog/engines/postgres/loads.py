"""Reads of whole streams, as commands begin with: those that come while others are under way share a statement."""

import asyncio
from collections import defaultdict, deque
from functools import partial
from typing import Any, NamedTuple

from foldlog.engines.kinds import Kinds
from foldlog.engines.postgres.kinds import refresh
from foldlog.engines.postgres.pool import Pool
from foldlog.engines.postgres.session import Connection, fetch, int8s, texts

_ALONE = 2  # reads under way that have a connection each; whoever comes then shares the next one
_TOGETHER = 64  # streams of one statement
_SHORT = 32  # events of a stream that come with those of others: it is a matter of commands to short ones


class _Load(NamedTuple):
    tenant: str
    stream: str
    after: int
    future: asyncio.Future[list[Any] | None]


class Loads:
    """The reads of streams that wait for their statement. `columns` are those of an event `e`."""

    def __init__(self, schema: str, columns: str, kinds: Kinds, pool: Pool) -> None:
        self._schema, self._kinds, self._pool = schema, kinds, pool
        self._queue: deque[_Load] = deque()
        self._serving: asyncio.Task[None] | None = None
        self.alone = 0
        """Reads under way that share nothing."""
        stream = f"(SELECT id FROM {schema}.streams AS s WHERE s.tenant = q.tenant AND s.name = q.name)"
        self._select = (
            "SELECT q.n, e.* FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])"
            " AS q (n, tenant, name, after)"
            f" CROSS JOIN LATERAL (SELECT {columns} FROM {schema}.events AS e WHERE e.stream = {stream}"
            " AND e.version > q.after ORDER BY e.version LIMIT $5) AS e ORDER BY q.n, e.version"
        )

    @property
    def busy(self) -> bool:
        """Whether who reads now is better off with others."""
        return self.alone >= _ALONE

    async def rows(self, tenant: str, stream: str, after: int) -> list[Any] | None:
        """A stream's events behind a version, all of them, their kinds known; None where they are many or large: then
        it is read page by page. Errors: those of the pool."""
        future: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Load(tenant, stream, after, future))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve(), name="foldlog-loads")
        return await future

    async def _serve(self) -> None:
        try:
            await asyncio.sleep(0)  # who comes in the same moment comes along
            while self._queue:
                loads = [self._queue.popleft() for _ in range(min(len(self._queue), _TOGETHER))]
                try:
                    found = await self._pool.run(partial(self._read, loads))
                except Exception as error:
                    for load in loads:
                        _fail(load.future, error)
                    continue
                for number, load in enumerate(loads):
                    _answer(load.future, found[number])
        finally:
            self._serving = None
            for load in self._queue:
                load.future.cancel()

    async def _read(self, loads: list[_Load], conn: Connection) -> list[list[Any] | None]:
        params = [
            int8s(range(len(loads))),
            texts([one.tenant for one in loads]),
            texts([one.stream for one in loads]),
            int8s([one.after for one in loads]),
            _SHORT + 1,
        ]
        found: defaultdict[int, list[Any]] = defaultdict(list)
        newest = 0
        for number, *row in await fetch(conn, self._select, params):
            found[number].append(row)
            newest = max(newest, row[3])
        await refresh(self._kinds, conn, self._schema, newest)
        return [_whole(found[number]) for number in range(len(loads))]


def _whole(rows: list[Any]) -> list[Any] | None:
    large = any(row[5] is None or row[6] is None for row in rows)
    return None if large or len(rows) > _SHORT else rows


def _answer(future: asyncio.Future[list[Any] | None], rows: list[Any] | None) -> None:
    if not future.done():
        future.set_result(rows)


def _fail(future: asyncio.Future[list[Any] | None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
