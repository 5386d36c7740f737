"""Lanes: the items of one key, worked off one after the other; as many lanes at the same time as the handler allows.

A call of a handler that takes pages serves several lanes. While the handler's breaker is open, lanes with an event
first are barred. What a lane finishes is given to the committer, which marks it.
"""

import asyncio
import random
from collections import deque
from collections.abc import Coroutine, Sequence
from itertools import takewhile
from typing import Any

from foldlog.flow import inbox
from foldlog.flow.breaker import Circuit, Ticket
from foldlog.flow.effect import Call, Effect, Outcome
from foldlog.flow.execute import Execute
from foldlog.flow.gate import Gate
from foldlog.flow.inbox import Item
from foldlog.flow.lease import Lease
from foldlog.flow.mark import Board, Change, Committer
from foldlog.flow.outbox import Outbox, let_go
from foldlog.flow.page import Lane, Pages, Place
from foldlog.flow.partition import partition_of
from foldlog.flow.subscribe import Progress
from foldlog.flow.timers import Timers
from foldlog.flow.wakeup import Wakeup
from foldlog.flow.window import Window
from foldlog.model.clock import Clock
from foldlog.model.message import Recorded
from foldlog.ports.store import RowChange, Store


class Lanes:
    """Everything that one owner of a handler has to do, by key."""

    def __init__(
        self,
        store: Store,
        effect: Effect,
        execute: Execute,
        clock: Clock,
        lease: Lease,
        progress: Progress,
        circuit: Circuit,
    ) -> None:
        self.store, self.effect, self.lease, self.progress = store, effect, lease, progress
        self._clock = clock
        self.board = Board(effect.name)
        self.committer = Committer(lease, self.board, self._stored)
        self.window = Window(effect.name, store)
        self.timers = Timers(store, clock, effect.name) if effect.timed else None
        self.queues: dict[Lane, deque[Item]] = {}
        self.active: dict[Lane, asyncio.Task[None]] = {}
        self.leaving: set[int] = set()  # partitions that are let go: nothing new is begun for them
        self.stopping = False
        self.parked = 0
        self.room = asyncio.Event()
        self.group: asyncio.TaskGroup | None = None
        self._pages = Pages(effect.page)
        self._gate = Gate(effect.name, circuit, clock)
        self._wakeup = Wakeup(clock, self._due_earlier)
        self._outbox = Outbox(store, effect, execute, self._wakeup.now)
        self._queued: dict[Lane, None] = {}
        self._working: dict[Lane, Item] = {}
        self._slots = asyncio.Semaphore(effect.concurrency)

    @property
    def idle(self) -> bool:
        """Whether there is nothing left but what waits behind a dead letter."""
        return (
            not (self.active or self._gate.barred)
            and not self.committer.busy
            and (self.timers is None or self.timers.idle)
            and all(queue[0].status == inbox.DEAD for queue in self.queues.values() if queue)
        )

    def hold(self, item: Item, status: str) -> None:
        """Take what stands in a row already."""
        item.status = status
        # No longer than its own pause: whoever wrote it may have had another clock.
        item.due = min(item.due, self._wakeup.now() + item.due - item.failed)
        self.queues.setdefault((item.tenant, item.key), deque()).append(item)
        self.parked += 1

    def enqueue(self, item: Item) -> None:
        """Take an event that was just read."""
        lane = (item.tenant, item.key)
        queue = self.queues.setdefault(lane, deque())
        queue.append(item)
        if lane in self.active:
            return
        if self._blocked(queue[0]):
            # With all that came before it: a lane that was let go has ended without that, and rows are loaded before
            # events are read.
            for one in list(takewhile(lambda one: not one.row and one is not queue[0], reversed(queue))):
                self._park(one)
        else:
            self.start(lane)

    def start(self, lane: Lane) -> None:
        """Work a lane off, unless it runs, is barred, or ends."""
        if lane in self.active or lane in self._gate.barred or self.group is None or self._ends(lane):
            return
        queue = self.queues.get(lane)
        if queue and queue[0].status != inbox.DEAD:
            self.active[lane] = self.begin(self._run(lane, queue))

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of this run. Where the run ends already, because it has failed, whoever calls is cancelled."""
        if self.group is None:
            raise AssertionError("tasks are begun in a run")
        try:
            return self.group.create_task(work)
        except RuntimeError as error:  # a group that ends takes no tasks, and has no way to be asked before
            work.close()
            raise asyncio.CancelledError from error

    def go_on(self) -> None:
        """Start every lane that may run: those that came from rows, those whose call was ended with that of a lane that
        was let go, and, where that one's call was to probe, another one."""
        for lane in list(self.queues):
            self.start(lane)
        if self._gate.barred:
            self._wakeup.set(self._gate.until, next(iter(self._gate.barred)))

    def drop(self) -> None:
        """End the lanes of partitions that are let go where they only wait for their turn: nobody waits for it."""
        if self.leaving:
            for lane in [one for one in self._queued if self._ends(one) and self._pages.caller(one) == one]:
                self.active[lane].cancel()

    def end(self) -> list[asyncio.Task[None]]:
        """Cancel what still runs for partitions that are let go, and the calls that others took it along to."""
        late = [lane for lane in self.active if partition_of(*lane) in self.leaving]
        tasks = [self.active[lane] for lane in {*late, *map(self._pages.caller, late)} if lane in self.active]
        for task in tasks:
            task.cancel()
        return tasks

    def forget(self, partitions: set[int]) -> None:
        """Drop the lanes of these partitions; their rows say what is left to do."""
        for lane in [one for one in self.queues if partition_of(*one) in partitions]:
            self._gate.barred.pop(lane, None)
            for item in self.queues.pop(lane):
                self.window.release(item.position)
                self._pages.forget(item)
                self.parked -= bool(item.row or item.command)
        self.room.set()

    async def take_back(self, item: Item) -> None:
        """Do what an operator asked for with a dead letter: try again, or let go."""
        lane = (item.tenant, item.key)
        queue = self.queues.setdefault(lane, deque())
        twin = next((one for one in queue if one.place == item.place), None)
        if twin is not None:
            queue.remove(twin)
        else:
            self.parked += 1
        item.operator = False
        replayed = item.status != inbox.DISCARDED
        if not replayed and await let_go(self.store, self.effect, item):
            self._unpark()
        else:
            if replayed:
                at = sum(1 for one in queue if one.place < item.place)
                busy = bool(queue) and queue[0] is self._working.get(lane)
                queue.insert(max(at, busy), item)
            await self.committer.store(item.partition, lambda: [item.put(item.row) if replayed else self._retire(item)])
        self.start(lane)
        self._forget(lane)

    async def wake(self) -> None:
        """Start lanes again when their time has come. Runs until cancelled."""
        while True:
            for lane in self._wakeup.rung():
                self.start(lane)
            self._admit()
            await self._wakeup.wait()

    def _stored(self) -> None:
        self.room.set()
        self.progress.advance(self.board.low())

    def _blocked(self, head: Item) -> bool:
        return head.status == inbox.DEAD or (head.due > 0 and self._wakeup.now() < head.due)

    def _ends(self, lane: Lane) -> bool:
        return self.stopping or (bool(self.leaving) and partition_of(*lane) in self.leaving)

    async def _run(self, lane: Lane, queue: deque[Item]) -> None:
        try:
            while queue and not self._ends(lane):
                if self._blocked(queue[0]):
                    for item in queue:
                        if not item.row:
                            self._park(item)
                    if queue[0].status != inbox.DEAD:
                        self._wakeup.set(queue[0].due, lane)
                    return
                if queue[0].command is None and (again := self._gate.bar(lane, queue[0].attempts)) is not None:
                    self._wakeup.set(again, lane)
                    return
                await self._turn(lane, queue)
                await asyncio.sleep(0)  # a handler that waits for nothing must not keep the others from their turn
        finally:
            del self.active[lane]
            self._working.pop(lane, None)
            self._forget(lane)
            self._admit()
            self.progress.pulse()

    def _forget(self, lane: Lane) -> None:
        if lane not in self.active and not self.queues.get(lane, True):
            del self.queues[lane]
            self._gate.barred.pop(lane, None)

    async def _turn(self, lane: Lane, queue: deque[Item]) -> None:
        """Let what stands first in a lane be done, by itself or in the page of another lane."""
        self._queued[lane] = None
        try:
            if self.effect.page > 1:
                await self._pages.wait(lane, queue)
            async with self._slots:
                await self.committer.whole()
                del self._queued[lane]
                taken = self._pages.leave(lane)
                # Whoever waited here must look again: a stopping function starts nothing new.
                if taken is None and queue and not self._ends(lane) and not self._blocked(queue[0]):
                    self._working[lane] = queue[0]
                    if queue[0].command is not None:
                        await self._send(queue, queue[0])
                    elif (ticket := self._gate.begin(queue[0].attempts)) is not None:
                        await self._work(lane, queue, ticket)
        finally:
            self._queued.pop(lane, None)
            self._pages.leave(lane)  # one that is cancelled while it waits comes into no page any more
        if taken is not None:
            await asyncio.shield(taken)  # the others of that page wait for it, too

    async def _work(self, lane: Lane, queue: deque[Item], ticket: Ticket) -> None:
        if ticket.probe or self.effect.page == 1:
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
            self.drop()

    def _runs(self, item: Item) -> bool:
        return item.command is None and not self._blocked(item) and item.partition not in self.leaving

    async def _call(self, page: list[Place], ticket: Ticket) -> None:
        found: list[Outcome] | Outcome | None = None
        try:
            event = self.window.get(page[0].item.position) if len(page) == 1 else None
            events = [event] if event is not None else await self.window.load([place.item for place in page])
            page = page[: len(events)]
            number = max([place.item.attempts for place in page]) + 1
            fence = max([self.lease.fence(place.item.partition) for place in page])
            call = Call(events, [place.item for place in page], number, fence, self._clock, self.store)
            found = await self.effect.attempt(call)
        finally:
            self._gate.end(ticket, [place.lane for place in page], found)
            self._admit()
        if not isinstance(found, Outcome):
            await self._settle(page, events, found)
        elif len(page) > 1:
            self._pages.halve([place.item for place in page], len(page))
        elif not (ticket.spares and found.raised):  # then it tells of the outside, not of its event
            await self._settle(page, events, [found])

    async def _settle(
        self, page: Sequence[Place], events: Sequence[Recorded[Any]], outcomes: Sequence[Outcome]
    ) -> None:
        changes: list[Change] = []
        failed: set[Lane] = set()
        for (lane, queue, item), event, outcome in zip(page, events, outcomes, strict=True):
            if lane in failed:
                continue  # behind one that failed nothing was attempted, whatever the handler says of it
            self.progress.retried += item.attempts > 0
            if outcome.error:
                failed.add(lane)
                changes.append(self._failed(queue, item, outcome, event))
            elif (change := self._done(queue, item, outcome, event)) is not None:
                changes.append(change)
        await self.committer.store_all(changes)
        if self.timers is not None:
            for (_, _, item), outcome in zip(page, outcomes, strict=True):
                self.timers.note(item.partition, outcome.rings)

    def _done(self, queue: deque[Item], item: Item, outcome: Outcome, event: Recorded[Any]) -> Change | None:
        self.progress.done += 1
        at = queue.index(item)
        del queue[at]
        self._pages.forget(item)
        if outcome.commands:
            item.follow(event)
        followers = [item.answered(number, command) for number, command in enumerate(outcome.commands, 1)]
        for follower in reversed(followers):
            queue.insert(at, follower)
        self.parked += len(followers)
        if not (followers or item.row or outcome.rows):
            self._finish(item, plain=True)
            self.committer.touch()
            return None

        def changes() -> list[RowChange]:
            puts: list[RowChange] = [*outcome.rows, *[follower.put() for follower in followers]]
            if item.row:
                return [*puts, self._retire(item)]
            self._finish(item, plain=True)
            return puts

        return item.partition, changes, outcome.weight

    async def _send(self, queue: deque[Item], item: Item) -> None:
        outcome = await self._outbox.send(item)
        if outcome is None:
            return
        self.progress.retried += item.attempts > 0
        if outcome.error:
            await self.committer.store(*self._failed(queue, item, outcome))
            return
        queue.remove(item)
        self._unpark()

    def _failed(self, queue: deque[Item], item: Item, outcome: Outcome, event: Recorded[Any] | None = None) -> Change:
        effect, now = self.effect, self._wakeup.now()
        self.progress.failed += 1
        item.attempts += 1
        item.failed, item.error = now, outcome.error
        pause = effect.retry.pause(item.attempts, random.random())
        if outcome.never or pause is None:
            item.status = inbox.DEAD
            self._pages.forget(item)
        else:
            item.due = now + int((pause if outcome.again is None else outcome.again) * 1e6)
        if event is not None:
            item.follow(event)
        fresh = not item.row
        self.parked += fresh
        dead = item.status == inbox.DEAD
        if dead and effect.after_dead == "go on":
            queue.remove(item)
            self._unpark()
        item.report()

        def changes() -> list[RowChange]:
            if fresh:
                self._finish(item, plain=False)
            # A command whose answer was lost, or that an owner of before sends late, is not to come back to its row.
            return [item.put(item.row if item.command else None)]

        return item.partition, changes, 0

    def _park(self, item: Item) -> None:
        self.parked += 1
        self._finish(item, plain=False)
        self.committer.add(item.partition, item.put())

    def _unpark(self) -> None:
        self.parked -= 1
        self.room.set()

    def _finish(self, item: Item, *, plain: bool) -> None:
        self.window.release(item.position)
        if (marks := self.board.parts.get(item.partition)) is not None:
            marks.finish(item.place, plain=plain)
        self.room.set()

    def _retire(self, item: Item) -> RowChange:
        self._unpark()
        if item.command is None and item.position > self.lease.position(item.partition):
            item.status = inbox.DONE
            self.board.parts[item.partition].written.add(item.place)
            return item.put()
        return item.delete()

    def _due_earlier(self, micros: int) -> None:
        for queue in self.queues.values():
            for item in queue:
                item.due = max(0, item.due - micros)

    def _admit(self) -> None:
        if not self._gate.barred or (task := asyncio.current_task()) is None or task.cancelling():
            return  # where everything ends, the group takes no new tasks
        for lane in self._gate.admit():
            self.start(lane)
