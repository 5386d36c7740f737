"""Events to handlers: order per key, retries by schedule, marks that commit together, commands that follow once.

Each key with something to do is a lane: a queue whose items are worked off one after the other. Lanes run at the same
time, as many as the handler's concurrency allows; a call of a handler that takes pages serves several of them. What a
lane finishes is marked by one committer, which writes whatever has come together since its last commit: the checkpoint,
inbox marks above it, outbox rows. While the handler's breaker is open, lanes with an event first are barred.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from foldlog import limits
from foldlog.flow import inbox, outbox
from foldlog.flow.attempt import Effect, Outcome
from foldlog.flow.breaker import Circuit, Ticket
from foldlog.flow.execute import Execute
from foldlog.flow.gate import Gate
from foldlog.flow.inbox import Item
from foldlog.flow.lease import Lease
from foldlog.flow.mark import Committer, Marks
from foldlog.flow.page import Lane, Pages, Place
from foldlog.flow.subscribe import Fed, Progress, either
from foldlog.flow.window import Window
from foldlog.model.clock import Clock
from foldlog.model.message import Recorded
from foldlog.model.schema import Schemas
from foldlog.ports.store import RowChange, Store

Change = tuple[Callable[[], list[RowChange]], int]
_ENVELOPE = 1_000  # bytes of an inbox row around a command's body, about


class Deliver:
    """One owner's run of one handler, from taking the lease to losing it or stopping."""

    def __init__(
        self,
        store: Store,
        effect: Effect,
        schemas: Schemas,
        execute: Execute,
        clock: Clock,
        lease: Lease,
        progress: Progress,
        circuit: Circuit,
    ) -> None:
        self._store, self._effect, self._schemas, self._execute = store, effect, schemas, execute
        self._clock, self._lease, self._progress = clock, lease, progress
        self._queues: dict[Lane, deque[Item]] = {}
        self._active: dict[Lane, asyncio.Task[None]] = {}
        self._window = Window(effect.name, store)
        self._pages = Pages(effect.page)
        self._gate = Gate(effect.name, circuit, clock)
        self._marks = Marks(effect.name, lease.position)
        self._committer = Committer(lease, self._marks, self._stored)
        self._parked = 0
        self._known: set[int] = set()
        self._due: list[tuple[int, Lane]] = []
        self._working: dict[Lane, Item] = {}
        self._room, self._earlier, self._nudged = (asyncio.Event() for _ in range(3))
        self._slots = asyncio.Semaphore(effect.handler.concurrency)
        self._stopping = self._looking = False
        self._group: asyncio.TaskGroup | None = None

    async def run(self, feed: Any, stop: asyncio.Event) -> None:
        """Work until `stop`; then finish what runs, mark it, and return.

        `feed` is an async iterator of `Fed`. Errors, in an exception group: `Conflict` when the lease was lost,
        `Unavailable`, `Corrupt`.
        """
        await self._load()
        async with asyncio.TaskGroup() as self._group:
            own = [self._group.create_task(work) for work in (self._take(feed), self._wake(), self._obey())]
            self._group.create_task(self._committer.run())
            for lane in list(self._queues):
                self._start(lane)
            self._progress.pulse()
            await stop.wait()
            self._stopping = True
            if self._active:
                await asyncio.wait(self._active.values(), timeout=limits.STOP)
            for task in (*own, *self._active.values()):
                task.cancel()
            self._committer.close()

    def settled(self, head: int) -> bool:
        """Whether everything up to `head` is done, or waits behind a dead letter."""
        return (
            self._group is not None  # loaded
            and self._marks.low() >= head
            and not (self._active or self._gate.barred)
            and not self._committer.busy
            and not (self._nudged.is_set() or self._looking)
            and all(queue[0].status == inbox.DEAD for queue in self._queues.values() if queue)
        )

    def nudge(self) -> None:
        """An operator has changed a dead letter: look now."""
        self._nudged.set()

    async def _load(self) -> None:
        async for item in inbox.items(self._store, self._effect.name):
            if item.index == 0 and item.position > self._lease.position:
                self._known.add(item.position)
            if item.status == inbox.DONE:
                self._marks.written.add(item.position)
            elif item.operator:
                self._nudged.set()
                if self._effect.handler.after_dead == "wait":
                    self._hold(item, inbox.DEAD)
            elif item.status == inbox.READY or self._effect.handler.after_dead == "wait":
                self._hold(item, item.status)

    def _hold(self, item: Item, status: str) -> None:
        item.status = status
        self._queues.setdefault((item.tenant, item.key), deque()).append(item)
        self._parked += 1

    async def _take(self, feed: Any) -> None:
        name, key_of = self._effect.name, self._effect.key
        fed: Fed
        async for fed in feed:
            for event in fed.events:
                if event.position in self._known:
                    self._known.discard(event.position)
                    continue
                while self._window.full(self._marks.opened(), self._parked):
                    self._room.clear()
                    await self._room.wait()
                item = Item(
                    name, event.position, 0, key_of(event), event.tenant, event.stream, event.version, event.kind.type
                )
                self._marks.open(event.position)
                self._window.hold(event)
                self._enqueue(item)
            self._marks.cursor = fed.upto
            self._progress.pulse()

    def _enqueue(self, item: Item) -> None:
        lane = (item.tenant, item.key)
        queue = self._queues.setdefault(lane, deque())
        queue.append(item)
        if lane in self._active:
            return
        if self._blocked(queue[0]):
            self._park(item)
        else:
            self._start(lane)

    def _blocked(self, head: Item) -> bool:
        return head.status == inbox.DEAD or head.due > self._clock.now()

    def _start(self, lane: Lane) -> None:
        if lane in self._active or lane in self._gate.barred or self._stopping or self._group is None:
            return
        queue = self._queues.get(lane)
        if queue and queue[0].status != inbox.DEAD:
            self._active[lane] = self._group.create_task(self._run_lane(lane, queue))

    async def _run_lane(self, lane: Lane, queue: deque[Item]) -> None:
        try:
            while queue and not self._stopping:
                if self._blocked(queue[0]):
                    for item in queue:
                        if not item.row:
                            self._park(item)
                    if queue[0].status != inbox.DEAD:
                        self._look_again(queue[0].due, lane)
                    return
                if queue[0].command is None and (again := self._gate.bar(lane, queue[0].attempts)) is not None:
                    self._look_again(again, lane)
                    return
                await self._turn(lane, queue)
                await asyncio.sleep(0)  # a handler that waits for nothing must not keep the others from their turn
        finally:
            del self._active[lane]
            self._working.pop(lane, None)
            self._forget(lane)
            self._admit()
            self._progress.pulse()

    def _forget(self, lane: Lane) -> None:
        if lane not in self._active and not self._queues.get(lane, True):
            del self._queues[lane]
            self._gate.barred.pop(lane, None)

    async def _turn(self, lane: Lane, queue: deque[Item]) -> None:
        """Let what stands first in a lane be done, by itself or in the page of another lane."""
        if self._effect.page > 1:
            await self._pages.wait(lane, queue)
        async with self._slots:
            taken = self._pages.leave(lane)
            # Whoever waited here must look again: a stopping function starts nothing new.
            if taken is None and queue and not self._stopping and not self._blocked(queue[0]):
                self._working[lane] = queue[0]
                if queue[0].command is not None:
                    await self._send(queue, queue[0])
                elif (ticket := self._gate.begin()) is not None:
                    await self._work(lane, queue, ticket)
        if taken is not None:
            await taken

    async def _work(self, lane: Lane, queue: deque[Item], ticket: Ticket) -> None:
        if ticket.probe or self._effect.page == 1:
            await self._call([Place(lane, queue, queue[0])], ticket)
            return
        page = self._pages.gather(lane, queue, self._runs)
        try:
            for place in reversed(page):
                self._working[place.lane] = place.item
            await self._call(page, ticket)
        finally:
            self._pages.end(page)
            for place in page:
                self._working.pop(place.lane, None)

    def _runs(self, item: Item) -> bool:
        return item.command is None and not self._blocked(item)

    async def _call(self, page: list[Place], ticket: Ticket) -> None:
        found: list[Outcome] | Outcome | None = None
        try:
            event = self._window.get(page[0].item.position) if len(page) == 1 else None
            events = [event] if event is not None else await self._window.load([place.item for place in page])
            page = page[: len(events)]
            number = max([place.item.attempts for place in page]) + 1
            found = await self._effect.attempt(events, number, self._lease.fence, self._clock)
        finally:
            self._gate.end(ticket, [place.lane for place in page], found)
            self._admit()
        if not isinstance(found, Outcome):
            await self._settle(page, events, found)
        elif len(page) > 1:
            self._pages.halve([place.item for place in page], len(page))
        elif not (ticket.probe and found.raised):  # a failed probe tells of the outside, not of its event
            await self._settle(page, events, [found])

    async def _settle(
        self, page: Sequence[Place], events: Sequence[Recorded[Any]], outcomes: Sequence[Outcome]
    ) -> None:
        changes: list[Change] = []
        failed: set[Lane] = set()
        for (lane, queue, item), event, outcome in zip(page, events, outcomes, strict=True):
            if lane in failed:
                continue  # behind one that failed nothing was attempted, whatever the handler says of it
            if outcome.error:
                failed.add(lane)
                changes.append(self._failed(queue, item, outcome, event))
            elif (change := self._done(queue, item, outcome, event)) is not None:
                changes.append(change)
        if len(changes) == 1:
            await self._committer.store(*changes[0])
        elif changes:
            await asyncio.gather(*(self._committer.store(*change) for change in changes))

    def _done(self, queue: deque[Item], item: Item, outcome: Outcome, event: Recorded[Any]) -> Change | None:
        at = queue.index(item)
        del queue[at]
        self._pages.forget(item)
        if outcome.commands:
            item.follow(event)
        followers = [item.answered(number, command) for number, command in enumerate(outcome.commands, 1)]
        for follower in reversed(followers):
            queue.insert(at, follower)
        self._parked += len(followers)
        if not (followers or item.row):
            self._finish(item, plain=True)
            self._committer.touch()
            return None

        def changes() -> list[RowChange]:
            puts: list[RowChange] = [follower.put() for follower in followers]
            if item.row:
                return [*puts, self._retire(item)]
            self._finish(item, plain=True)
            return puts

        return changes, sum(len(bytes(command.body)) + _ENVELOPE for command in outcome.commands)

    async def _send(self, queue: deque[Item], item: Item) -> None:
        outcome = await outbox.send(self._store, self._schemas, self._execute, item)
        if outcome is None:
            return
        if outcome.error:
            await self._committer.store(*self._failed(queue, item, outcome))
            return
        queue.remove(item)
        self._unpark()

    def _failed(self, queue: deque[Item], item: Item, outcome: Outcome, event: Recorded[Any] | None = None) -> Change:
        handler, now = self._effect.handler, self._clock.now()
        item.attempts += 1
        item.failed, item.error = now, outcome.error
        pause = handler.retry.pause(item.attempts, random.random())
        if outcome.never or pause is None:
            item.status = inbox.DEAD
            self._pages.forget(item)
        else:
            item.due = now + int((pause if outcome.again is None else outcome.again) * 1e6)
        if event is not None:
            item.follow(event)
        fresh = not item.row
        self._parked += fresh
        dead = item.status == inbox.DEAD
        if dead and handler.after_dead == "go on":
            queue.remove(item)
            self._unpark()
        item.report()

        def changes() -> list[RowChange]:
            if fresh:
                self._finish(item, plain=False)
            return [item.put()]

        return changes, 0

    def _park(self, item: Item) -> None:
        self._parked += 1
        self._finish(item, plain=False)
        self._committer.add(item.put())

    def _unpark(self) -> None:
        self._parked -= 1
        self._room.set()

    def _finish(self, item: Item, *, plain: bool) -> None:
        self._window.release(item.position)
        self._marks.finish(item.position, plain=plain)
        self._room.set()

    def _retire(self, item: Item) -> RowChange:
        self._unpark()
        if item.index == 0 and item.position > self._lease.position:
            item.status = inbox.DONE
            self._marks.written.add(item.position)
            return item.put()
        return item.delete()

    def _stored(self, low: int) -> None:
        self._room.set()
        self._progress.advance(low)

    async def _wake(self) -> None:
        while True:
            self._earlier.clear()
            while self._due and self._due[0][0] <= self._clock.now():
                self._start(heapq.heappop(self._due)[1])
            self._admit()
            if self._due:
                delay = (self._due[0][0] - self._clock.now()) / 1e6
                await either(self._clock.sleep(delay), self._earlier.wait())
            else:
                await self._earlier.wait()

    def _look_again(self, due: int, lane: Lane) -> None:
        heapq.heappush(self._due, (due, lane))
        self._earlier.set()

    def _admit(self) -> None:
        if not self._gate.barred or (task := asyncio.current_task()) is None or task.cancelling():
            return  # where everything ends, the group takes no new tasks
        for lane in self._gate.admit():
            self._start(lane)

    async def _obey(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.OPERATOR_POLL):
                    await self._nudged.wait()
            self._looking = True
            self._nudged.clear()
            while rows := await inbox.marked(self._store, "operator", self._effect.name, limits.FIND):
                for row in rows:
                    await self._take_back(inbox.decode(row))
            self._looking = False
            self._progress.pulse()

    async def _take_back(self, item: Item) -> None:
        lane = (item.tenant, item.key)
        queue = self._queues.setdefault(lane, deque())
        twin = next((one for one in queue if (one.position, one.index) == (item.position, item.index)), None)
        if twin is not None:
            queue.remove(twin)
        else:
            self._parked += 1
        item.operator = False
        replayed = item.status != inbox.DISCARDED
        if replayed:
            at = sum(1 for one in queue if (one.position, one.index) < (item.position, item.index))
            busy = bool(queue) and queue[0] is self._working.get(lane)
            queue.insert(max(at, busy), item)
        await self._committer.store(lambda: [item.put() if replayed else self._retire(item)])
        self._start(lane)
        self._forget(lane)
