"""A simulated process's way to the store: every call takes its time, and most faults happen here."""

import asyncio
from collections.abc import Awaitable, Sequence
from random import Random
from typing import Protocol

from foldlog import limits
from foldlog.errors import FoldlogError, Unavailable
from foldlog.model.query import Query
from foldlog.ports.store import Appended, Batch, Capabilities, Identity, Page, Range, Row, RowKey, Rows, Store, Table
from foldlog.testing.simulation import trace
from foldlog.testing.simulation.fault import Dice, Fault
from foldlog.testing.simulation.loop import Lane, VirtualLoop
from foldlog.testing.simulation.trace import Trace


class Surroundings(Protocol):
    """What a run shares among its processes."""

    loop: VirtualLoop
    dice: Dice
    trace: Trace
    random: Random
    store: Store
    lease: float
    full_until: float

    def fault(self, fault: Fault, who: str, where: str) -> float:
        """A fault happens now: note it; returns how strong it is."""

    def committed(self, batch: Batch) -> None:
        """A commit was stored."""


class Killable(Protocol):
    """A process as its link sees it."""

    name: str
    lane: Lane

    def crash(self) -> None:
        """It is killed."""

    def stall(self, seconds: float) -> None:
        """It stands still."""


class Link:
    """The store as one process reaches it. Closing it leaves the store to the others."""

    def __init__(self, run: Surroundings, process: Killable) -> None:
        self._run, self._process, self._store = run, process, run.store
        self.capabilities: Capabilities = run.store.capabilities
        self.identity: Identity = run.store.identity

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await asyncio.sleep(0)

    async def commit(self, batch: Batch) -> list[Appended]:
        run = self._run
        await self._gate("a commit")
        await self._travel()
        try:
            if run.loop.time() < run.full_until:
                raise Unavailable("simulated: the disk is full")
            done = await self._store.commit(batch)
        except FoldlogError as error:
            run.trace.add(run.loop.time(), self._process.name, trace.commit, batch, error.code)
            await self._travel()
            raise
        run.committed(batch)
        run.trace.add(run.loop.time(), self._process.name, trace.commit, batch, "stored")
        if run.dice.falls(Fault.CRASH_AFTER_COMMIT):
            await self._die(Fault.CRASH_AFTER_COMMIT, "a commit")
        await self._travel()
        return done

    async def read(self, query: Query, after: int = 0, limit: int = 1_000, *, backward: bool = False) -> Page:
        await self._gate("a read")
        page = await self._store.read(query, after, limit, backward=backward)
        await self._travel()
        return page

    async def head(self) -> int:
        await self._gate("a look at the head")
        head = await self._store.head()
        await self._travel()
        return head

    async def wait(self, after: int | None, timeout: float) -> None:
        await self._store.wait(after, timeout)

    async def get(self, table: Table, keys: Sequence[RowKey]) -> dict[RowKey, Row]:
        await self._gate(f"a get from {table.name}")
        rows = await self._store.get(table, keys)
        await self._travel()
        return rows

    async def scan(self, table: Table, range: Range) -> Rows:
        await self._gate(f"a scan of {table.name}")
        rows = await self._store.scan(table, range)
        await self._travel()
        return rows

    async def drop(self, table: Table) -> None:
        await self._gate(f"a drop of {table.name}")
        await self._store.drop(table)
        await self._travel()

    def _travel(self) -> Awaitable[None]:
        # Short ways are much more likely than long ones: the square of an even draw.
        return self._run.loop.rest(limits.SIMULATION_LATENCY * self._run.random.random() ** 2)

    async def _gate(self, call: str) -> None:
        run, dice = self._run, self._run.dice
        if dice.falls(Fault.CRASH):
            await self._die(Fault.CRASH, call)
        if dice.falls(Fault.PAUSE):
            strength = run.fault(Fault.PAUSE, self._process.name, f"before {call}")
            self._process.stall(run.lease * (1.01 + strength))
            await asyncio.sleep(0)
        if dice.falls(Fault.SLOW_STORE):
            strength = run.fault(Fault.SLOW_STORE, self._process.name, f"before {call}")
            await asyncio.sleep(limits.SIMULATION_SLOW * strength)
        if dice.falls(Fault.UNAVAILABLE):
            run.fault(Fault.UNAVAILABLE, self._process.name, f"for {call}")
            raise Unavailable("simulated: the store does not answer")

    async def _die(self, fault: Fault, call: str) -> None:
        when = "after" if fault is Fault.CRASH_AFTER_COMMIT else "before"
        self._run.fault(fault, self._process.name, f"{when} {call}")
        self._process.crash()
        await asyncio.get_running_loop().create_future()  # nothing of this process runs any more
