"""A fork takes no instances along, and its processes leave the copied events alone."""

import asyncio

import pytest

from foldlog import App
from foldlog.connect import fork
from foldlog.flow.fork import Fork
from tests.unit import transfers


def quiet(position):
    """Nobody looks."""


@pytest.mark.parametrize("handlers", ["new", "all"])
def test_processes_begin_behind_the_copied_events_whatever_handlers_do(tmp_path, handlers):
    old, new = f"sqlite:{tmp_path}/old.db", f"sqlite:{tmp_path}/new.db"
    parts = [transfers.requests, transfers.account, transfers.transfer]

    async def main():
        async with App(old, parts) as app:
            await app.send(transfers.account, "a", transfers.Move(10))
            await app.send(transfers.requests, "1", transfers.Request("a", "b", 7))
            await app.settle()
            head, identity = await app.system.store.head(), app.system.store.identity
        origin = Fork(identity.log, identity.epoch, head, handlers)
        await fork(old, new, head, [origin.row()], quiet)
        async with App(new, parts) as app:
            await app.settle()
            assert await app.system.store.head() == head
            await app.send(transfers.requests, "2", transfers.Request("a", "b", 2))
            await app.settle()
            assert await app.get(transfers.account, "b") == 9

    asyncio.run(main())
