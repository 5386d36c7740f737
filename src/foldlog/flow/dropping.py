"""A version of a view that nobody reads any more goes: its table, its checkpoint, its dead letters and
marks.

It can be killed between any two steps: the version is marked first, nobody switches to it or runs it from then on, and
dropping it once more does the rest.
"""

import msgspec

from foldlog import limits
from foldlog.errors import Invalid, NotFound, Unavailable
from foldlog.flow import inbox, serving
from foldlog.flow.lease import Lease, checkpoint
from foldlog.flow.partition import ALL
from foldlog.flow.serving import VIEWS, Served
from foldlog.flow.stale import unmark
from foldlog.model.clock import Clock
from foldlog.model.projection import table_name
from foldlog.ports.store import Batch, Check, Delete, RowChange, RowKey, Store


async def drop(store: Store, clock: Clock, owner: str, name: str, version: int, *, removed: bool = False) -> int:
    """Remove a version that is not read; returns how many dead letters went with it.

    `removed` says that no code has the projection any more: then the version that is read may go, and the pointer with
    it. Waits `limits.SERVED` seconds, until every process has seen that it is not read. Errors: `NotFound`; `Invalid`
    for the version that is read, or that a running process keeps up; `Conflict` when a switch came first.
    """
    found, row = await serving.known_version(store, name, version)
    function = table_name(name, version)
    lease = Lease(store, clock, function, owner)
    await _refuse_current(store, name, version, removed=removed)
    holders = await lease.look()
    wait = max(one.left for one in holders.values())
    if wait or not await lease.take(ALL, 0):
        held = await checkpoint(store, function)
        who = held.owner if held else "another process"
        if found.dropping:
            raise Unavailable(f"{function} is being dropped by {who}: try again in {wait:,.0f} s, if it has died", wait)
        raise Invalid(f"{function} is kept up by {who}: stop the processes whose code has version {version} first")
    served, at = await _refuse_current(store, name, version, removed=removed)
    pointer: RowChange = Check(VIEWS, RowKey("", name), at)
    if served.before == version:
        pointer = serving.pointer_put(name, Served(served.current), at)
    dropping = msgspec.structs.replace(found, dropping=True, built=False)
    await store.commit(Batch(rows=[pointer, serving.version_put(name, dropping, row)]))
    await clock.sleep(limits.SERVED)
    await store.drop(found.table(name))
    letters = await _letters(store, lease, function)
    pointed = [Delete(VIEWS, RowKey("", name), at)] if served.current == version else []
    await lease.remove([Delete(VIEWS, RowKey("", f"{name}/{version}")), *pointed])
    return letters


async def _refuse_current(store: Store, name: str, version: int, *, removed: bool) -> tuple[Served, int]:
    served, at = await serving.pointer(store, name)
    if served is None:
        raise NotFound(f"there is no view {name!r} in this store")
    if served.current == version and removed:
        if others := [str(one.version) for one in await serving.versions(store, name) if one.version != version]:
            raise Invalid(f"version {version} of view {name!r} is read: drop version {', '.join(others)} before it")
    elif served.current == version:
        raise Invalid(f"version {version} of view {name!r} is read now: switch to another one before it is dropped")
    return served, at


async def _letters(store: Store, lease: Lease, function: str) -> int:
    """Remove the dead letters, and with each the mark that its row is stale; returns how many letters there were."""
    count, letters, marks = 0, list[RowChange](), dict[RowKey, RowChange]()
    async for item in inbox.items(store, function):
        letters.append(item.delete())
        stale = unmark(function, RowKey(item.tenant, item.key))
        marks[stale.key] = stale
        if len(letters) == limits.FIND_MAX // 2:
            await lease.commit([*letters, *marks.values()], _positions(lease))
            count, letters, marks = count + len(letters), [], {}
    await lease.commit([*letters, *marks.values()], _positions(lease))
    return count + len(letters)


def _positions(lease: Lease) -> dict[int, int]:
    return {number: lease.position(number) for number in lease.held}
