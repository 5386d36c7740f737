"""Waiting for rows that another process keeps: one look for all who wait, after each commit that is heard of.

A row says by itself up to which event it was folded, so most are read once, when they are what was waited for. One that
the events in question did not touch is waited for by its partition's checkpoint.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from foldlog import limits
from foldlog.flow.lease import CHECKPOINTS, checkpoint_key, decode
from foldlog.flow.partition import partition_of
from foldlog.flow.serving import Source
from foldlog.flow.subscribe import either
from foldlog.ports.store import Row, RowKey, Store, Table

Future = asyncio.Future[Row | None]


class _Wanted(NamedTuple):
    """A row, where it stands, and the position that it is to show."""

    source: Source
    key: RowKey
    position: int

    @property
    def checkpoint(self) -> RowKey:
        return checkpoint_key(self.source.table.name, partition_of(*self.key))


class Awaited:
    """The rows that are waited for in one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[Future, _Wanted] = {}
        self._arrived = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def row(self, source: Source, key: RowKey, position: int) -> Row | None:
        """Return when a row shows a position, however long that takes: the row, or None where it is still to be read.
        Errors: those of the store."""
        future: Future = asyncio.get_running_loop().create_future()
        self._waiting[future] = _Wanted(source, key, position)
        self._arrived.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        try:
            return await future
        finally:
            del self._waiting[future]
            self._arrived.set()

    async def _look_on(self) -> None:
        try:
            while self._waiting:
                self._arrived.clear()
                # It begins to wait before it looks: what is committed meanwhile is not missed.
                heard = asyncio.create_task(self._store.wait(None, limits.IDLE_WAIT))
                await asyncio.sleep(0)
                try:
                    await self._look()
                    if self._undone():
                        await either(_done(heard), self._arrived.wait())
                finally:
                    heard.cancel()
        except Exception as error:
            for future in self._undone():
                future.set_exception(error)
        finally:
            self._looking = None

    async def _look(self) -> None:
        wanted = self._undone()
        rows = await self._get([(one.source.table, one.key) for one in wanted.values() if not one.source.inline])
        left: dict[Future, _Wanted] = {}
        for future, one in wanted.items():
            row = rows.get((one.source.table, one.key))
            if row is None or row.position < one.position:
                left[future] = one
            elif not future.done():
                future.set_result(row)
        checkpoints = await self._get([(CHECKPOINTS, one.checkpoint) for one in left.values()])
        for future, one in left.items():
            held = checkpoints.get((CHECKPOINTS, one.checkpoint))
            if held is not None and decode(held).position >= one.position and not future.done():
                future.set_result(None)

    async def _get(self, wanted: Sequence[tuple[Table, RowKey]]) -> Mapping[tuple[Table, RowKey], Row]:
        tables: defaultdict[Table, list[RowKey]] = defaultdict(list)
        for table, key in dict.fromkeys(wanted):  # no set: a simulation reads them in the same order every time
            tables[table].append(key)
        found: dict[tuple[Table, RowKey], Row] = {}
        for table, keys in tables.items():
            found.update(((table, key), row) for key, row in (await self._store.get(table, keys)).items())
        return found

    def _undone(self) -> dict[Future, _Wanted]:
        return {future: one for future, one in self._waiting.items() if not future.done()}


async def _done(task: asyncio.Task[None]) -> None:
    await task
