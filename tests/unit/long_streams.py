"""Accounts with long streams, and a look at their snapshots."""

import asyncio

from foldlog import Decider, Unavailable
from foldlog.flow.snapshot import SNAPSHOTS
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, RowKey
from tests.unit.bank import Closed, Deposited, Opened, decide, evolve


def saving(every, fold=evolve):
    return Decider("account", decide, fold, initial=None, snapshot=every)


def doubled(balance: int | None, event: Opened | Deposited | Closed) -> int | None:
    match event:
        case Opened():
            return 0
        case Deposited(amount):
            return (balance or 0) + 2 * amount
    return None


def counting(app):
    """The number of events that the app reads from now on, in a list of one."""
    read, count = app.link.inner.read, [0]

    async def counted(*args, **options):
        page = await read(*args, **options)
        count[0] += len(page.events)
        return page

    app.link.read = counted
    return count


async def grow(store, stream, count, tenant=""):
    """Deposits of 1 that came into the log past the senders."""
    for begin in range(0, count, 10_000):
        drafts = [Draft("account.deposited", 1, b'{"amount":1}')] * min(10_000, count - begin)
        await store.commit(Batch([Append(stream, drafts, tenant=tenant)]))


def waiting(app):
    """The states that wait to be saved."""
    return app.system.execute._states._snapshots._waiting  # noqa: SLF001 - the test looks into the saver


async def row(app, stream="account-1", tenant=""):
    key = RowKey(tenant, stream)
    return (await app.link.inner.get(SNAPSHOTS, [key])).get(key)


async def saved(app, version, stream="account-1", tenant=""):
    """Wait until the stream's snapshot stands at a version."""
    while (found := await row(app, stream, tenant)) is None or found.position < version:  # noqa: ASYNC110 - a turn each
        await asyncio.sleep(0)


def refuse_snapshots(link, batch):
    if any(one.table is SNAPSHOTS for one in batch.rows):
        raise Unavailable("not now")
