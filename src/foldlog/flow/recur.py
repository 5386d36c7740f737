"""Schedules: a row each, with the time it is due next; whoever sends the command first writes the row in its commit.

No lease is needed: all processes wait for the same time, and the row's version lets one of them do it.
"""

import asyncio
import logging
import random
from contextlib import suppress

import msgspec

from foldlog.errors import Conflict, Corrupt, Misconfigured, Refused, Unavailable, Undecodable
from foldlog.flow.execute import Execute, Origin
from foldlog.flow.inbox import last_line, told
from foldlog.flow.subscribe import Progress, either
from foldlog.model.clock import Clock
from foldlog.model.message import Send, event_id, to_datetime
from foldlog.model.schedule import Schedule
from foldlog.ports.store import Batch, Put, Row, RowKey, Store, Table

log = logging.getLogger("foldlog.schedule")
SCHEDULES = Table("schedules")


class Planned(msgspec.Struct, frozen=True, omit_defaults=True):
    """The row's value: when it is due next and was last sent (microseconds since 1970), why the last one failed, and
    the times (`every`, `offset`) that the next is one of."""

    next: int
    sent: int = 0
    error: str = ""
    times: tuple[int, int] = (0, 0)


async def planned(store: Store, name: str) -> tuple[Planned | None, int]:
    """A schedule's row, and its version; None and 0 where it never ran."""
    row: Row | None = (await store.get(SCHEDULES, [RowKey("", name)])).get(RowKey("", name))
    return (msgspec.json.decode(row.value, type=Planned), row.version) if row else (None, 0)


class Recur:
    """One schedule in one process."""

    def __init__(self, store: Store, clock: Clock, execute: Execute, schedule: Schedule) -> None:
        self._store, self._clock, self._execute, self.schedule = store, clock, execute, schedule
        self.progress = Progress()
        self.name = f"schedule.{schedule.name}"
        self.failure: Exception | None = None
        self._next = 0  # what it waits for; not looked yet: due
        self._attempts = 0

    def settled(self) -> bool:
        """Whether it has nothing to do now. Errors: what it failed with for good."""
        if self.failure is not None:
            raise self.failure
        return self._next > self._clock.now()

    async def run(self, stop: asyncio.Event) -> None:
        """Send whenever it is due, until `stop`; after an unavailable store again, after corruption never."""
        while not stop.is_set():
            try:
                await self._once(stop)
            except Unavailable as error:
                self._tell(logging.WARNING, f"interrupted, goes on: {error.message}")
                await either(asyncio.sleep(error.retry_after), stop.wait())
            except (Corrupt, Misconfigured) as error:
                self.failure = error
                self._tell(logging.CRITICAL, f"stopped for good, until this process starts anew: {error.message}")
                self.progress.pulse()
                return

    async def _once(self, stop: asyncio.Event) -> None:
        schedule, now = self.schedule, self._clock.now()
        found, version = await planned(self._store, schedule.name)
        due, times = schedule.due(now), (schedule.every, schedule.offset)
        if found is None:
            await self._write(Planned(due + schedule.every, times=times), version)
        elif found.next <= due or (found.times != times and found.sent < due and 0 < self._next <= due):
            # The row may be that of code with other times meanwhile: what was waited for here is sent all the same.
            await self._send(found, version, due, stop)
        elif found.times != times:  # what is planned is none of the times that it has now
            await self._write(Planned(due + schedule.every, found.sent, found.error, times), version)
        else:
            self._next = found.next
            self._attempts = 0  # another process may have made the time that they were for
            self.progress.pulse()
            await either(self._clock.until(found.next), stop.wait())

    async def _send(self, found: Planned, version: int, due: int, stop: asyncio.Event) -> None:
        schedule = self.schedule
        after = Planned(due + schedule.every, due, times=(schedule.every, schedule.offset))
        origin = Origin(schedule.tenant, event_id(schedule.tenant, self.name, str(due), 0), remember=False)
        error = ""
        try:
            send = schedule.send if isinstance(schedule.send, Send) else schedule.send(to_datetime(due))
            await self._execute.send(send, origin, (self._row(after, version),))
        except Refused as refused:
            error = f"the command was refused: {refused.code}: {refused.message}"
        except Unavailable:
            raise
        except Exception as failed:
            if isinstance(failed, Conflict) and failed.row:
                return  # another process was faster
            if isinstance(failed, Corrupt) and not isinstance(failed, Undecodable):
                raise
            error = told(failed)
            self._attempts += 1
            pause = schedule.retry.pause(self._attempts, random.random())
            if pause is not None and self._clock.now() + pause * 1e6 < after.next:
                self._tell(logging.WARNING, f"attempt {self._attempts} failed: {last_line(error)}")
                await either(self._clock.sleep(pause), stop.wait())
                return
        self._attempts, self._next = 0, after.next
        if error:
            self._tell(logging.ERROR, last_line(error))
            await self._write(Planned(after.next, found.sent, error, after.times), version)

    async def _write(self, planned: Planned, version: int) -> None:
        with suppress(Conflict):  # another process was faster
            await self._store.commit(Batch(rows=(self._row(planned, version),)))

    def _row(self, planned: Planned, version: int) -> Put:
        return Put(SCHEDULES, RowKey("", self.schedule.name), msgspec.json.encode(planned), if_version=version)

    def _tell(self, level: int, what: str) -> None:
        log.log(level, "%s: %s", self.name, what, extra={"function": self.name, "error": what})
