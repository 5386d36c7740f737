"""Events to handlers: order per key, retries by schedule, marks that commit together, commands that follow once.

Each key with something to do is a lane: a queue whose items are worked off one after the other. Lanes run at the same
time, as many as the handler's concurrency allows. What a lane finishes is marked by one committer, which writes
whatever has come together since its last commit: checkpoints, inbox marks above them, outbox rows. Partitions may join
and leave while it runs: what leaves ends its running attempts and is marked, what joins is read from its checkpoint on.
"""

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from foldlog import limits
from foldlog.flow import inbox, outbox
from foldlog.flow.attempt import Effect, Outcome
from foldlog.flow.execute import Execute
from foldlog.flow.inbox import Item
from foldlog.flow.lease import Lease
from foldlog.flow.mark import Board, Committer
from foldlog.flow.partition import partition_of
from foldlog.flow.subscribe import Fed, Feed, Progress, either
from foldlog.model.clock import Clock
from foldlog.model.message import Recorded
from foldlog.model.schema import Schemas
from foldlog.ports.store import RowChange, Store

log = logging.getLogger("foldlog.deliver")
Lane = tuple[str, str]
_ENVELOPE = 1_000  # bytes of an inbox row around a command's body, about


class Deliver:
    """One owner's run of one handler, from taking its first partitions to losing one or stopping."""

    def __init__(
        self,
        store: Store,
        effect: Effect,
        schemas: Schemas,
        execute: Execute,
        clock: Clock,
        lease: Lease,
        progress: Progress,
    ) -> None:
        self._store, self._effect, self._schemas, self._execute = store, effect, schemas, execute
        self._clock, self._lease, self._progress = clock, lease, progress
        self._queues: dict[Lane, deque[Item]] = {}
        self._active: dict[Lane, asyncio.Task[None]] = {}
        self._events: dict[int, Recorded[Any]] = {}
        self._board = Board(effect.name)
        self._committer = Committer(lease, self._board, self._stored)
        self._parked = 0
        self._leaving: set[int] = set()
        self._feed: Feed | None = None
        self._stop, self._requests = asyncio.Event(), asyncio.Lock()
        self._taking: asyncio.Task[None] | None = None
        self._due: list[tuple[int, Lane]] = []
        self._working: dict[Lane, Item] = {}
        self._room, self._earlier, self._nudged = (asyncio.Event() for _ in range(3))
        self._slots = asyncio.Semaphore(effect.handler.concurrency)
        self._stopping = self._looking = self._loaded = False
        self._group: asyncio.TaskGroup | None = None

    async def run(self, feed: Feed, stop: asyncio.Event) -> None:
        """Work until `stop`; then finish what runs, mark it, and return.

        `feed` gives the events behind a position, as an async iterator of `Fed`. Errors, in an exception group:
        `Conflict` when a lease was lost, `Unavailable`, `Corrupt`.
        """
        self._feed, self._stop = feed, stop
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._committer.run())
            await self.join(self._lease.held)
            own = [self._group.create_task(work) for work in (self._wake(), self._obey())]
            await stop.wait()
            self._stopping = True
            if self._active:
                await asyncio.wait(self._active.values(), timeout=limits.STOP)
            for task in (*own, *self._active.values(), *([self._taking] if self._taking else [])):
                task.cancel()
            self._committer.close()

    async def join(self, partitions: Sequence[int]) -> None:
        """Work on partitions that the lease holds now, too: what they left undone, then events behind their
        checkpoints."""
        if self._group is None or self._feed is None:
            raise AssertionError("partitions join a run")
        self._loaded = False
        if self._taking is not None:
            # The feed begins anew, from the lowest; what the others have read already is passed over.
            self._taking.cancel()
            await asyncio.wait([self._taking])
        async with self._requests:
            for number in partitions:
                self._board.join(number, self._lease.position(number))
            async for item in inbox.items(self._store, self._effect.name, partitions):
                self._load(item)
        if self._stopping:
            return
        self._taking = self._group.create_task(self._take(self._feed(self._board.cursor(), self._stop)))
        for lane in list(self._queues):
            self._start(lane)
        self._loaded = True
        self._progress.pulse()

    async def leave(self, partitions: Sequence[int]) -> dict[int, int]:
        """Work on these partitions no more: end their running attempts (at most `limits.STOP` seconds) and mark them.
        Returns from where their next owner reads on, as `Project.leave` does."""
        self._leaving.update(partitions)
        running = [task for lane, task in self._active.items() if partition_of(*lane) in self._leaving]
        if running:
            _, late = await asyncio.wait(running, timeout=limits.STOP)
            for task in late:
                task.cancel()
            await asyncio.wait(running)  # nothing of theirs runs on when their next owner begins
        await self._committer.settle()
        for number in partitions:
            del self._board.parts[number]
        for lane in [one for one in self._queues if partition_of(*one) in self._leaving]:
            for item in self._queues.pop(lane):
                self._events.pop(item.position, None)
                self._parked -= bool(item.row or item.index)
        self._leaving.clear()
        self._room.set()
        self._progress.pulse()
        return {number: self._lease.position(number) for number in partitions}  # their checkpoints say all

    @property
    def seen(self) -> dict[int, int]:
        """Up to where each partition's events are done, or have a row."""
        return self._board.lows()

    def settled(self, head: int) -> bool:
        """Whether everything up to `head` is done, or waits behind a dead letter."""
        return (
            self._loaded
            and all(low >= head for low in self.seen.values())
            and not self._active
            and not self._committer.busy
            and not (self._nudged.is_set() or self._looking)
            and all(queue[0].status == inbox.DEAD for queue in self._queues.values() if queue)
        )

    def nudge(self) -> None:
        """An operator has changed a dead letter: look now."""
        self._nudged.set()

    def _load(self, item: Item) -> None:
        marks = self._board.parts[item.partition]
        if item.index == 0 and item.position > self._lease.position(item.partition):
            marks.known.add(item.position)
        if item.status == inbox.DONE:
            marks.written.add(item.position)
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

    async def _take(self, feed: AsyncIterator[Fed]) -> None:
        name, key_of, board = self._effect.name, self._effect.key, self._board
        async for fed in feed:
            for event in fed.events:
                key = key_of(event)
                place = partition_of(event.tenant, key)
                if not board.takes(place, event.position):
                    continue
                while board.opened() >= limits.WINDOW or self._parked >= limits.PARKED:
                    self._room.clear()
                    await self._room.wait()
                if place not in board.parts:
                    continue  # let go while this waited
                item = Item(name, event.position, 0, key, event.tenant, event.stream, event.version, event.kind.type)
                item.partition = place
                board.parts[place].open(event.position)
                self._events[event.position] = event
                self._enqueue(item)
            board.read(fed.upto)
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
        if lane in self._active or self._group is None or self._ends(lane):
            return
        queue = self._queues.get(lane)
        if queue and queue[0].status != inbox.DEAD:
            self._active[lane] = self._group.create_task(self._run_lane(lane, queue))

    async def _run_lane(self, lane: Lane, queue: deque[Item]) -> None:
        try:
            while queue and not self._ends(lane):
                if self._blocked(queue[0]):
                    for item in queue:
                        if not item.row:
                            self._park(item)
                    if queue[0].status != inbox.DEAD:
                        heapq.heappush(self._due, (queue[0].due, lane))
                        self._earlier.set()
                    return
                async with self._slots:
                    # Whoever waited here must look again: a stopping function starts nothing new.
                    if queue and not self._ends(lane) and not self._blocked(queue[0]):
                        self._working[lane] = queue[0]
                        await self._work(queue, queue[0])
                await asyncio.sleep(0)  # a handler that waits for nothing must not keep the others from their turn
        finally:
            del self._active[lane]
            self._working.pop(lane, None)
            self._forget(lane)
            self._progress.pulse()

    def _ends(self, lane: Lane) -> bool:
        return self._stopping or (bool(self._leaving) and partition_of(*lane) in self._leaving)

    def _forget(self, lane: Lane) -> None:
        if lane not in self._active and not self._queues.get(lane, True):
            del self._queues[lane]

    async def _work(self, queue: deque[Item], item: Item) -> None:
        if item.command is not None:
            await self._send(queue, item)
            return
        event = self._events.get(item.position) or await inbox.event(self._store, item)
        outcome = await self._effect.attempt(event, item.attempts + 1, self._lease.fence(item.partition), self._clock)
        if outcome.error:
            await self._failed(queue, item, outcome, event)
        else:
            await self._done(queue, item, outcome, event)

    async def _done(self, queue: deque[Item], item: Item, outcome: Outcome, event: Recorded[Any]) -> None:
        queue.remove(item)
        if outcome.commands:
            item.follow(event)
        followers = [item.answered(number, command) for number, command in enumerate(outcome.commands, 1)]
        queue.extendleft(reversed(followers))
        self._parked += len(followers)
        if not (followers or item.row):
            self._finish(item, plain=True)
            self._committer.touch()
            return

        def changes() -> list[RowChange]:
            puts: list[RowChange] = [follower.put() for follower in followers]
            if item.row:
                return [*puts, self._retire(item)]
            self._finish(item, plain=True)
            return puts

        weight = sum(len(bytes(command.body)) + _ENVELOPE for command in outcome.commands)
        await self._committer.store(item.partition, changes, weight)

    async def _send(self, queue: deque[Item], item: Item) -> None:
        outcome = await outbox.send(self._store, self._schemas, self._execute, item)
        if outcome is None:
            return
        if outcome.error:
            await self._failed(queue, item, outcome)
            return
        queue.remove(item)
        self._unpark()

    async def _failed(
        self, queue: deque[Item], item: Item, outcome: Outcome, event: Recorded[Any] | None = None
    ) -> None:
        handler, now = self._effect.handler, self._clock.now()
        item.attempts += 1
        item.failed, item.error = now, outcome.error
        pause = handler.retry.pause(item.attempts, random.random())
        if outcome.never or pause is None:
            item.status = inbox.DEAD
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
        log.log(
            logging.ERROR if dead else logging.WARNING,
            "dead letter" if dead else "attempt failed",
            extra={
                "function": self._effect.name,
                "stream": item.stream,
                "position": item.position,
                "attempt": item.attempts,
                "correlation": item.correlation,
                "error": outcome.error.strip().rsplit("\n", 1)[-1],
            },
        )

        def changes() -> list[RowChange]:
            if fresh:
                self._finish(item, plain=False)
            return [item.put()]

        await self._committer.store(item.partition, changes)

    def _park(self, item: Item) -> None:
        self._parked += 1
        self._finish(item, plain=False)
        self._committer.add(item.partition, item.put())

    def _unpark(self) -> None:
        self._parked -= 1
        self._room.set()

    def _finish(self, item: Item, *, plain: bool) -> None:
        self._events.pop(item.position, None)
        if (marks := self._board.parts.get(item.partition)) is not None:
            marks.finish(item.position, plain=plain)
        self._room.set()

    def _retire(self, item: Item) -> RowChange:
        self._unpark()
        if item.index == 0 and item.position > self._lease.position(item.partition):
            item.status = inbox.DONE
            self._board.parts[item.partition].written.add(item.position)
            return item.put()
        return item.delete()

    def _stored(self) -> None:
        self._room.set()
        self._progress.advance(self._board.low())

    async def _wake(self) -> None:
        while True:
            self._earlier.clear()
            if not self._due:
                await self._earlier.wait()
                continue
            due, lane = self._due[0]
            delay = (due - self._clock.now()) / 1e6
            if delay <= 0:
                heapq.heappop(self._due)
                self._start(lane)
                continue
            await either(self._clock.sleep(delay), self._earlier.wait())

    async def _obey(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.OPERATOR_POLL):
                    await self._nudged.wait()
            self._looking = True
            self._nudged.clear()
            after = None
            async with self._requests:  # what is taken back is not loaded at the same time
                while rows := await inbox.marked(self._store, "operator", self._effect.name, limits.FIND, after):
                    after = rows[-1]
                    for item in map(inbox.decode, rows):
                        if item.partition in self._board.parts and item.partition not in self._leaving:
                            await self._take_back(item)
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
        await self._committer.store(item.partition, lambda: [item.put() if replayed else self._retire(item)])
        self._start(lane)
        self._forget(lane)
