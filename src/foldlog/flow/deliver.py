"""Events to handlers: order per key, retries by schedule, marks that commit together, commands that follow once.

Each key with something to do is a lane: a queue whose items are worked off one after the other. Lanes run at the same
time, as many as the handler's concurrency allows. What a lane finishes is marked by one committer, which writes
whatever has come together since its last commit: the checkpoint, inbox marks above it, outbox rows.
"""

import asyncio
import heapq
import logging
import random
from collections import deque
from contextlib import suppress
from typing import Any

from foldlog import limits
from foldlog.errors import Conflict, Corrupt, Refused, Undecodable
from foldlog.flow import inbox
from foldlog.flow.attempt import Effect, Outcome
from foldlog.flow.execute import Execute, Origin
from foldlog.flow.inbox import INBOX, Item, told
from foldlog.flow.lease import Lease
from foldlog.flow.mark import Committer, Marks
from foldlog.flow.subscribe import Fed, Progress, either
from foldlog.model.clock import Clock
from foldlog.model.message import Recorded, Send, event_id
from foldlog.model.principal import Principal
from foldlog.model.query import Query
from foldlog.model.schema import Schemas
from foldlog.ports.store import Delete, RowChange, Store

log = logging.getLogger("foldlog.deliver")
Lane = tuple[str, str]
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
    ) -> None:
        self._store, self._effect, self._schemas, self._execute = store, effect, schemas, execute
        self._clock, self._lease, self._progress = clock, lease, progress
        self._queues: dict[Lane, deque[Item]] = {}
        self._active: dict[Lane, asyncio.Task[None]] = {}
        self._events: dict[int, Recorded[Any]] = {}
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
            and not self._active
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
                while self._marks.opened() >= limits.WINDOW or self._parked >= limits.PARKED:
                    self._room.clear()
                    await self._room.wait()
                item = Item(
                    name, event.position, 0, key_of(event), event.tenant, event.stream, event.version, event.kind.type
                )
                self._marks.open(event.position)
                self._events[event.position] = event
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
        if lane in self._active or self._stopping or self._group is None:
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
                        heapq.heappush(self._due, (queue[0].due, lane))
                        self._earlier.set()
                    return
                async with self._slots:
                    # Whoever waited here must look again: a stopping function starts nothing new.
                    if queue and not self._stopping and not self._blocked(queue[0]):
                        self._working[lane] = queue[0]
                        await self._work(queue, queue[0])
                await asyncio.sleep(0)  # a handler that waits for nothing must not keep the others from their turn
        finally:
            del self._active[lane]
            self._working.pop(lane, None)
            self._forget(lane)
            self._progress.pulse()

    def _forget(self, lane: Lane) -> None:
        if lane not in self._active and not self._queues.get(lane, True):
            del self._queues[lane]

    async def _work(self, queue: deque[Item], item: Item) -> None:
        if item.command is not None:
            await self._send(queue, item)
            return
        event = self._events.get(item.position) or await self._reload(item)
        outcome = await self._effect.attempt(event, item.attempts + 1, self._lease.fence, self._clock)
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

        await self._committer.store(changes, sum(len(bytes(command.body)) + _ENVELOPE for command in outcome.commands))

    async def _send(self, queue: deque[Item], item: Item) -> None:
        command = item.command
        if command is None:
            raise AssertionError("only items with a command are sent")
        try:
            value = self._schemas.decode_command(command.name, command.version, bytes(command.body))
            await self._execute.send(
                Send(command.decider, command.key, value),
                _origin(self._effect.name, item),
                (Delete(INBOX, item.row_key, item.row),),
            )
        except Conflict as conflict:
            if not conflict.row.endswith(item.row_key.key):
                await self._failed(queue, item, Outcome(error=str(conflict)))
                return
            row = (await self._store.get(INBOX, [item.row_key])).get(item.row_key)
            if row is not None:
                if inbox.decode(row).status != inbox.READY:
                    raise  # another owner has written it: the lease is lost
                item.row = row.version
                return
        except Refused as refused:
            error = f"the command was refused: {refused.code}: {refused.message}"
            await self._failed(queue, item, Outcome(error=told(error), never=True))
            return
        except Exception as error:
            if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
                raise
            await self._failed(queue, item, Outcome(error=f"the command failed\n{told(error)}"))
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

        await self._committer.store(changes)

    async def _reload(self, item: Item) -> Recorded[Any]:
        page = await self._store.read(Query(), item.position - 1, 1)
        if not page.events or page.events[0].position != item.position:
            raise Corrupt(f"{item.stream}: the event at position {item.position} is gone from the log")
        return page.events[0]

    def _park(self, item: Item) -> None:
        self._parked += 1
        self._finish(item, plain=False)
        self._committer.add(item.put())

    def _unpark(self) -> None:
        self._parked -= 1
        self._room.set()

    def _finish(self, item: Item, *, plain: bool) -> None:
        self._events.pop(item.position, None)
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


def _origin(function: str, item: Item) -> Origin:
    return Origin(
        tenant=item.tenant,
        command_id=event_id(item.tenant, function, item.event_id, item.index),
        principal=Principal(item.actor),
        correlation=item.correlation,
        causation=item.event_id,
        remember=False,
    )
