"""One view built by a process of its own, beside those that serve."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from foldlog import limits
from foldlog.errors import Conflict
from foldlog.flow import serving, subscribe
from foldlog.flow.lease import Lease
from foldlog.flow.partition import ALL
from foldlog.flow.project import Project
from foldlog.flow.rebuild import Pace, Rebuild, claim
from foldlog.flow.serving import BuildProgress
from foldlog.flow.view import View
from foldlog.system import System


async def build_view(
    system: System, view: View, stop: asyncio.Event, rate: int | None, told: Callable[[BuildProgress], None]
) -> bool:
    """Build this code's version of a view up to the safe head, or until `stop`; returns whether it is built.

    Where another process builds it already, this one looks on, and takes over should that one die. `rate` is the most
    events a second; without it live traffic is made room for. Never switches: who serves does, once this code is
    deployed. Errors: `Unavailable`; whatever a commit is refused with.
    """
    name, version = view.projection.name, view.projection.version
    progress = subscribe.Progress()
    telling = asyncio.create_task(_tell(system, view, progress, told))
    try:
        # One lease for all looks: it knows since when another's has not changed, whatever that one's clock said.
        lease = Lease(system.store, system.clock, view.name, system.owner, system.lease)
        while not stop.is_set():
            wait = max(holder.left for holder in (await lease.look()).values())
            if wait or not await lease.take(ALL, 0):
                found, _ = await serving.find_version(system.store, name, version)
                if found is not None and found.built:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(wait, limits.STANDBY)):
                        await stop.wait()
                continue
            await claim(system.store, view, lease)
            try:
                await _build(system, view, lease, progress, stop, rate)
            except Conflict:  # the lease was lost: somebody else builds, so look on
                lease.forget()
                progress.folded = 0
                continue
            break
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)  # a look that failed hides nothing: the work has its own
    found, _ = await serving.find_version(system.store, name, version)
    told(await serving.progress(system.store, name, version))
    return found is not None and found.built


async def _build(
    system: System, view: View, lease: Lease, progress: subscribe.Progress, stop: asyncio.Event, rate: int | None
) -> None:
    project = Project(system.store, view, system.clock, lease, progress)
    pace = Pace(shared=False, rate=rate)
    rebuild = Rebuild(system.store, system.clock, system.serving, view, project, pace, switches=False)
    ended = asyncio.Event()

    async def shown(position: int) -> None:
        await rebuild.shown(position)
        if rebuild.done or stop.is_set():
            ended.set()

    waiting = asyncio.create_task(stop.wait())
    waiting.add_done_callback(lambda _: ended.set())
    try:
        await project.run(lambda after, until: rebuild.feed(after, until, lease.idle), ended, shown)
    finally:
        waiting.cancel()
    await lease.release(project.seen)


async def _tell(
    system: System, view: View, progress: subscribe.Progress, told: Callable[[BuildProgress], None]
) -> None:
    name, version = view.projection.name, view.projection.version
    while True:
        told(await serving.progress(system.store, name, version, progress.folded))
        await asyncio.sleep(limits.TELL)
