"""One run: a story sent to processes over one store, faults on the way, and invariants at every quiet point."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

from foldlog import limits
from foldlog.app import App
from foldlog.engines.memory import MemoryStore
from foldlog.errors import FoldlogError, Misconfigured
from foldlog.flow.lease import CHECKPOINTS
from foldlog.flow.partition import ALL
from foldlog.model.clock import Clock, Ids
from foldlog.model.handler import Handler
from foldlog.ports.store import Batch, Put, RowKey, Store
from foldlog.system import Resolved, System, build
from foldlog.testing.clock import SequentialIds
from foldlog.testing.simulation import trace
from foldlog.testing.simulation.fault import Dice, Fault, Fired, Plan, Rates
from foldlog.testing.simulation.link import Link
from foldlog.testing.simulation.loop import LANE, Stuck, VirtualLoop
from foldlog.testing.simulation.process import GONE, Process, SkewedClock, around
from foldlog.testing.simulation.seen import ALWAYS, Broken, Seen, judge, look
from foldlog.testing.simulation.story import Sent, Step, Wait
from foldlog.testing.simulation.trace import Trace

W = TypeVar("W")
Invariant = Callable[[Seen[W]], object]
"""A plain function that raises (`assert`), or answers False, where something is wrong."""


class Case(NamedTuple):
    """Everything that a run depends on beside the simulation itself: the same case is the same run, byte for byte.

    `seed` makes the story, `chance` the order of things and the faults. `keep` names the steps of the story that are
    told (None: all), `faults` the faults that happen (None: by their rates), `processes` how many processes there are.
    """

    seed: int
    chance: int
    processes: int
    keep: tuple[int, ...] | None = None
    faults: Plan | None = None

    def __repr__(self) -> str:
        said = [f"seed={self.seed}", f"chance={self.chance}", f"processes={self.processes}"]
        said += [f"keep={self.keep!r}"] * (self.keep is not None)
        said += [f"faults={self.faults!r}"] * (self.faults is not None)
        return f"Case({', '.join(said)})"


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: the invariant that broke (None: all held), the faults that happened, and the trace."""

    case: Case
    broken: Broken | None
    fired: tuple[Fired, ...]
    told: tuple[int, ...]
    trace: Trace
    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Setting(Generic[W]):
    """What all runs of a simulation share."""

    parts: Any
    invariants: Sequence[Invariant[W]]
    world: Callable[[], W] | None
    rates: Rates
    lease: float

    def open(self) -> tuple[Any, Resolved]:
        """A fresh world, and the parts around it. Errors: `Misconfigured`."""
        world = self.world() if self.world is not None else None
        if isinstance(self.parts, Resolved):
            return world, self.parts
        return world, resolved(self.parts(world) if self.world is not None else self.parts())


def resolved(parts: Any) -> Resolved:
    """Parts, or an App's, made ready to run in simulated processes. Errors: `Misconfigured`, naming every fault."""
    listed = parts.parts if isinstance(parts, App) else parts
    found = Resolved([around(part) if isinstance(part, Handler) else part for part in listed])
    if found.faults:
        raise Misconfigured(faults=tuple(found.faults))
    return found


@contextmanager
def _own_surroundings(seed: str) -> Iterator[None]:
    """What a run shares with the program around it, set aside for its time: Python's `random`, from which jitter is
    drawn in the library and in handlers, and the library's log, whose place the trace takes."""
    logger, kept = logging.getLogger("foldlog"), random.getstate()
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(kept)
        logger.setLevel(level)


class Run(Generic[W]):
    """A run of one case, from the first command to the last look."""

    def __init__(self, setting: Setting[W], case: Case, steps: Sequence[tuple[int, Step]]) -> None:
        self.setting, self.case, self.steps = setting, case, steps
        self.random = Random(f"{case.chance}/order")
        self.loop = VirtualLoop(self.random)  # type: ignore[abstract]  # what it lacks (sockets, signals) raises
        self.dice = Dice(setting.rates, case.chance, case.faults)
        self.trace = Trace()
        self.ids: Ids = SequentialIds()
        self.lease = setting.lease
        self.full_until = 0.0
        self.broken: Broken | None = None
        self.sent: list[Sent] = []
        self.processes: list[Process] = []
        self._world, self._resolved = setting.open()
        self._time = SkewedClock(self.loop)
        self.store: Store = MemoryStore(self._resolved.schemas().kind, now=self._time.now)
        self._checkpoints: dict[RowKey, int] = {}
        self._births: Counter[int] = Counter()
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._helping: set[asyncio.Task[None]] = set()
        self._head = 0
        self._failure: BaseException | None = None
        self._root = copy_context()
        self._root.run(LANE.set, self.loop.root)

    def go(self) -> Ran:
        """Run it."""
        with _own_surroundings(f"{self.case.chance}/jitter"):
            try:
                self.loop.run_until_complete(self._main())
            except Stuck as error:
                self.broken = self.broken or Broken("comes_to_rest", str(error))
            except Exception as error:
                error.add_note(f"in the simulated run of {self.case!r}")
                raise
        if self.broken is not None:
            self._tell(f"BROKEN {self.broken.invariant}: {self.broken.said}")
        self._tell(f"end: {self.loop.turns} turns, {len(self._checkpoints)} functions")
        told = tuple(number for number, _ in self.steps)
        return Ran(
            self.case,
            self.broken,
            tuple(self.dice.fired),
            told,
            self.trace,
            self._head,
            self.loop.time() + self.loop.slept,
        )

    # ------------------------------------------------------------ what links and processes ask

    def build(self, clock: Clock, link: Link) -> System:
        """A system over a link; the parts are resolved once, for all processes."""
        return build("memory:", self._resolved, clock=clock, ids=self.ids, lease=self.lease, store=lambda _kinds: link)

    def fault(self, fault: Fault, who: str, where: str) -> float:
        """A fault happens now: note it; returns how strong it is."""
        strength = self.dice.note(fault, self.loop.time(), f"{who} {where}".strip())
        self.trace.add(self.loop.time(), who, trace.plain, f"FAULT {fault} {where}".rstrip())
        return strength

    def committed(self, batch: Batch) -> None:
        """A commit was stored: no checkpoint in it may have gone back."""
        for change in batch.rows:
            if isinstance(change, Put) and change.table.name == CHECKPOINTS.name:
                before = self._checkpoints.get(change.key, 0)
                if change.position < before and self.broken is None:
                    said = f"{change.key.key}: from {before} to {change.position}"
                    self.broken = Broken("checkpoints_never_go_back", said)
                self._checkpoints[change.key] = change.position

    def ended(self, process: Process) -> None:
        """A process has ended: another one starts in its place after a while, sooner or later than its leases end."""
        self.processes.remove(process)
        self._tell(f"{process.name} has ended")
        if not self.loop.is_closed():
            pause = self.lease * 1.5 * self.random.random() ** 3
            self._in_root(self._birth(process.number, pause))

    # ------------------------------------------------------------ the road of a run

    async def _main(self) -> None:
        try:
            await self._story()
        finally:
            self.dice.held = True  # what is only dropped now meets no faults any more

    async def _story(self) -> None:
        await self.store.open()
        for number in range(1, self.case.processes + 1):
            await self._birth(number, 0.0)
        for number, step in self.steps:
            await self._step(number, step)
            if self.broken is not None:
                return
            if self.random.random() < 1 / limits.SIMULATION_QUIET and not await self._quiet():
                return
        await self._quiet()

    async def _step(self, number: int, step: Step) -> None:
        if isinstance(step, Wait):
            await self._wait(step.seconds)
            return
        self._disturb()
        sent = Sent(number, step)
        self.sent.append(sent)
        lane = f"{step.decider}-{step.key}"
        self._lanes[lane] = self._in_root(self._send(sent, self._lanes.get(lane)))
        while len(self._helping) > limits.SIMULATION_CLIENTS:
            await asyncio.wait(list(self._helping), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(limits.SIMULATION_GAP * self.random.random() ** 3)

    async def _wait(self, seconds: float) -> None:
        if (asleep := seconds - limits.SIMULATION_LIVED) <= 0:
            await asyncio.sleep(seconds)
            return
        await asyncio.sleep(limits.SIMULATION_LIVED / 2)
        self._tell(f"all machines sleep for {asleep:,.0f} seconds")
        self.loop.slept += asleep
        await asyncio.sleep(limits.SIMULATION_LIVED / 2)

    def _disturb(self) -> None:
        dice = self.dice
        if dice.falls(Fault.RESTART) and (process := self._some()):
            self.fault(Fault.RESTART, process.name, "")
            self._in_root(process.stop())
        if dice.falls(Fault.CLOCK_JUMP) and (process := self._some()):
            strength = self.fault(Fault.CLOCK_JUMP, process.name, "")
            process.clock.skew += int((2 * strength - 1) * limits.SIMULATION_JUMP * 1e6)
        if dice.falls(Fault.DISK_FULL):
            strength = self.fault(Fault.DISK_FULL, "store", "")
            self.full_until = self.loop.time() + limits.SIMULATION_SLOW * strength

    async def _send(self, sent: Sent, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        twice = self.dice.falls(Fault.DUPLICATE)
        if twice:
            self.fault(Fault.DUPLICATE, "client", f"command {sent.number}")
        self._tell(f"sends command {sent.number}: {sent.send!r}", "client")
        ways = [self._in_root(self._deliver(sent)) for _ in range(1 + twice)]
        await asyncio.wait(ways)
        for way in ways:
            way.result()
        self._tell(f"command {sent.number} is {sent.outcome()}", "client")

    async def _deliver(self, sent: Sent) -> None:
        while True:
            process = self._some()
            answer = GONE if process is None else await process.ask(sent.send, sent.command_id)
            if sent.answered(answer):
                return
            await asyncio.sleep(limits.SIMULATION_AGAIN * (0.5 + self.random.random()))

    def _some(self) -> Process | None:
        return self.random.choice(self.processes) if self.processes else None

    async def _birth(self, number: int, pause: float) -> None:
        await asyncio.sleep(pause)
        self._births[number] += 1
        process = Process(self, number, self._births[number])
        self.processes.append(process)
        self._tell(f"{process.name} starts")

    def _in_root(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self.loop.create_task(work, context=self._root.copy())
        self._helping.add(task)
        task.add_done_callback(self._helped, context=self._root.copy())  # not in a lane that may end first
        return task

    def _helped(self, task: asyncio.Task[None]) -> None:
        self._helping.discard(task)
        self._failure = self._failure or task.exception()

    # ------------------------------------------------------------ quiet points

    async def _quiet(self) -> bool:
        """Let everything come to rest and look; returns whether all invariants hold.

        Faults go on for a while, since the last command's consequences deserve them too, then they hold.
        """
        if self._lanes:
            await asyncio.wait(list(self._lanes.values()))
            for task in self._lanes.values():
                task.result()
            self._lanes.clear()
        calm = self.loop.time() + limits.SIMULATION_RESTLESS
        until = calm + limits.SIMULATION_REST
        pause = limits.SIMULATION_LATENCY
        try:
            while not await self._rests():
                if self.broken is not None:
                    return False
                if self.loop.time() > calm:
                    self.dice.held, self.full_until = True, 0.0
                if self.loop.time() > until:
                    raise Stuck(
                        f"not settled after {limits.SIMULATION_REST:,.0f} seconds without faults: {self._late()}"
                    )
                await asyncio.sleep(pause)
                pause = min(2 * pause, limits.SIMULATION_LOOK)
        except FoldlogError as error:
            self.broken = Broken("functions_go_on", f"a function has stopped for good: {error!r}")
            return False
        self.dice.held = True
        await self._look()
        self.dice.held = False
        return self.broken is None

    async def _rests(self) -> bool:
        if self._failure is not None:
            raise self._failure
        if len(self.processes) < self.case.processes or any(one.lane.paused for one in self.processes):
            return False
        self._head = await self.store.head()
        return not self._behind(self._head)

    def _behind(self, head: int) -> list[str]:
        """The functions that no process has settled up to the head. Errors: what one has failed with for good."""
        names = [function.name for function in self.processes[0].system.functions()]
        workers = [process.worker for process in self.processes]
        for worker in workers:
            for runner in worker.runners.values():
                if runner.failure is not None:
                    runner.settled(head)
        held = {name: [w.runners[name] for w in workers if w.runners[name].held] for name in names}
        return [
            name
            for name, runners in held.items()
            if {number for one in runners for number in one.held} != set(ALL)
            or not all(one.settled(head) for one in runners)
        ]

    def _late(self) -> str:
        return ", ".join(self._behind(self._head)) or "a process is missing"

    async def _look(self) -> None:
        if self.broken is None:
            seen = await look(self.processes[0].system, self.store, self._world, self.sent)
            self._tell(f"all is quiet: {len(seen.events)} events, {len(seen.dead_letters)} dead letters")
            self.broken = judge(seen, ALWAYS) or judge(seen, self.setting.invariants)

    def _tell(self, text: str, who: str = "") -> None:
        self.trace.add(self.loop.time(), who, trace.plain, text)
