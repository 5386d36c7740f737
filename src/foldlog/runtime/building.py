"""One view built by a process of its own, beside those that serve."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from foldlog import limits
from foldlog.errors import Conflict
from foldlog.flow import serving
from foldlog.flow.lease import Lease
from foldlog.flow.project import Project
from foldlog.flow.rebuild import Pace, Rebuild, claim
from foldlog.flow.serving import Progress
from foldlog.flow.view import View
from foldlog.system import System


async def build_view(
    system: System, view: View, stop: asyncio.Event, rate: int | None, told: Callable[[Progress], None]
) -> bool:
    """Build this code's version of a view up to the safe head, or until `stop`; returns whether it is built.

    Where another process builds it already, this one looks on, and takes over should that one die. `rate` is the most
    events a second; without it live traffic is made room for. Never switches: who serves does, once this code is
    deployed. Errors: `Unavailable`; whatever a commit is refused with.
    """
    name, version = view.projection.name, view.projection.version
    telling = asyncio.create_task(_tell(system, view, told))
    try:
        while not stop.is_set():
            lease = Lease(system.store, system.clock, view.name, system.owner, system.lease)
            if wait := await lease.acquire(0):
                found, _ = await serving.find_version(system.store, name, version)
                if found is not None and found.built:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(wait, limits.STANDBY)):
                        await stop.wait()
                continue
            await claim(system.store, view, lease)
            project = Project(system.store, view, system.clock, lease)
            await project.begin()
            pace = Pace(shared=False, rate=rate)
            rebuild = Rebuild(system.store, system.clock, system.serving, view, project, pace, switches=False)
            try:
                await rebuild.run(lease.position, stop, lambda _: None)
            except Conflict:  # the lease was lost: somebody else builds, so look on
                continue
            await lease.release()
            break
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)  # a look that failed hides nothing: the work has its own
    found, _ = await serving.find_version(system.store, name, version)
    told(await serving.progress(system.store, name, version))
    return found is not None and found.built


async def _tell(system: System, view: View, told: Callable[[Progress], None]) -> None:
    while True:
        told(await serving.progress(system.store, view.projection.name, view.projection.version))
        await asyncio.sleep(limits.TELL)
