"""Waiting for checkpoints that other processes write: one look for all who wait, after each commit that is heard of."""

import asyncio
from collections.abc import Iterable

from foldlog import limits
from foldlog.flow.lease import CHECKPOINTS, checkpoint_key, decode
from foldlog.flow.subscribe import either
from foldlog.ports.store import RowKey, Store


class Awaited:
    """The checkpoints that are waited for in one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[asyncio.Future[None], tuple[RowKey, int]] = {}
        self._arrived = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def reached(self, function: str, partition: int, position: int) -> None:
        """Return when a partition's checkpoint has come to a position, however long that takes. Errors: those of the
        store."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = checkpoint_key(function, partition), position
        self._arrived.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_on())
        try:
            await future
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
                    if _undone(self._waiting):
                        await either(_done(heard), self._arrived.wait())
                finally:
                    heard.cancel()
        except Exception as error:
            for future in _undone(self._waiting):
                future.set_exception(error)
        finally:
            self._looking = None

    async def _look(self) -> None:
        asked = {future: self._waiting[future] for future in _undone(self._waiting)}
        if not asked:
            return
        found = await self._store.get(CHECKPOINTS, list({key for key, _ in asked.values()}))
        at = {key: decode(row).position for key, row in found.items()}
        for future, (key, position) in asked.items():
            if at.get(key, -1) >= position and not future.done():
                future.set_result(None)


def _undone(futures: Iterable[asyncio.Future[None]]) -> list[asyncio.Future[None]]:
    return [future for future in futures if not future.done()]


async def _done(task: asyncio.Task[None]) -> None:
    await task
