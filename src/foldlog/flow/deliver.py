"""Events to handlers and processes: order per key, retries by schedule, marks in one commit, commands that follow once.

Each key with something to do is a lane; see lanes.py. What lanes finish is marked by one committer, which writes
whatever has come together since its last commit: checkpoints, inbox marks above them, outbox rows. Partitions may join
and leave while it runs: what leaves ends its running attempts and is marked, what joins is read from its checkpoint on.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from foldlog import limits
from foldlog.flow import inbox
from foldlog.flow.inbox import Item
from foldlog.flow.lanes import Lanes
from foldlog.flow.partition import partition_of
from foldlog.flow.subscribe import Fed, Feed
from foldlog.model.message import Recorded


class Deliver:
    """One owner's run of one handler or process, from taking its first partitions to losing one or stopping."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._store, self._effect, self._lease, self._progress = lanes.store, lanes.effect, lanes.lease, lanes.progress
        self._feed: Feed | None = None
        self._stop, self._nudged = asyncio.Event(), asyncio.Event()
        self._one = asyncio.Lock()  # partitions come, go, and are given requests one after the other
        self._taking: asyncio.Task[None] | None = None
        self._looking = self._loaded = False

    async def run(self, feed: Feed, stop: asyncio.Event) -> None:
        """Work until `stop`; then finish what runs, mark it, and return.

        `feed` gives the events behind a position, as an async iterator of `Fed`. Errors, in an exception group:
        `Conflict` when a lease was lost, `Unavailable`, `Corrupt`.
        """
        self._feed, self._stop = feed, stop
        lanes = self._lanes
        async with asyncio.TaskGroup() as lanes.group:
            lanes.group.create_task(lanes.committer.run())
            await self.join(self._lease.held)
            works = (lanes.wake(), self._obey(), *([lanes.timers.run()] if lanes.timers else []))
            own = [lanes.group.create_task(work) for work in works]
            await stop.wait()
            lanes.stopping = True
            if lanes.active:
                await asyncio.wait(lanes.active.values(), timeout=limits.STOP)
            for task in (*own, *lanes.active.values(), *([self._taking] if self._taking else [])):
                task.cancel()
            lanes.committer.close()

    async def join(self, partitions: Sequence[int]) -> None:
        """Work on partitions that the lease holds now, too: what they left undone, then events behind their
        checkpoints."""
        lanes = self._lanes
        if self._feed is None:
            raise AssertionError("partitions join a run")
        async with self._one:
            self._loaded = False
            if self._taking is not None:
                # The feed begins anew, from the lowest; what the others have read already is passed over. One that
                # went on would say of the new partitions, too, that they have come as far as it has.
                self._taking.cancel()
                await asyncio.wait([self._taking])
            for number in partitions:
                lanes.board.join(number, self._lease.position(number))
            async for item in inbox.items(self._store, self._effect.name, partitions):
                self._load(item)
            if lanes.timers is not None:
                await lanes.timers.join(partitions)
            if lanes.stopping:
                return
            self._taking = lanes.begin(self._take(self._feed(lanes.board.cursor(), self._stop)))
            lanes.go_on()
            self._loaded = True
        self._progress.pulse()

    async def leave(self, partitions: Sequence[int]) -> dict[int, int]:
        """Work on these partitions no more: end their running attempts (at most `limits.STOP` seconds) and mark them.
        Returns from where their next owner reads on, as `Project.leave` does."""
        lanes = self._lanes
        async with self._one:
            lanes.leaving.update(partitions)
            if lanes.timers is not None:
                lanes.timers.leave(partitions)
            running = [task for lane, task in lanes.active.items() if partition_of(*lane) in lanes.leaving]
            if running:
                await asyncio.wait(running, timeout=limits.STOP)
            if late := lanes.end():
                await asyncio.wait(late)  # nothing of theirs runs on when their next owner begins
            await lanes.committer.settle()
            for number in partitions:
                del lanes.board.parts[number]
            lanes.forget(lanes.leaving)
            if lanes.timers is not None:
                # A call that was ended with a lane that goes may have stored timers of one that stays, and not said so.
                await lanes.timers.join(lanes.board.parts)
            lanes.leaving.clear()
            lanes.go_on()
        self._progress.pulse()
        return {number: self._lease.position(number) for number in partitions}  # their checkpoints say all

    @property
    def seen(self) -> dict[int, int]:
        """Up to where each partition's events are done, or have a row."""
        return self._lanes.board.lows()

    @property
    def waiting(self) -> int:
        """How many items wait in rows, of at most `limits.PARKED`."""
        return self._lanes.parked

    def settled(self, head: int) -> bool:
        """Whether everything up to `head` is done, or waits behind a dead letter."""
        return (
            self._loaded
            and all(low >= head for low in self.seen.values())
            and not (self._nudged.is_set() or self._looking)
            and self._lanes.idle
        )

    def nudge(self) -> None:
        """An operator has changed a dead letter: look now."""
        self._nudged.set()

    def _load(self, item: Item) -> None:
        marks, waits = self._lanes.board.parts[item.partition], self._effect.after_dead == "wait"
        if item.command is None and item.position > self._lease.position(item.partition):
            marks.known.add(item.place)
        if item.status == inbox.DONE:
            marks.written.add(item.place)
        elif item.operator:
            self._nudged.set()
            if waits:
                self._lanes.hold(item, inbox.DEAD)
        elif item.status == inbox.READY or waits:
            self._lanes.hold(item, item.status)

    async def _take(self, feed: AsyncIterator[Fed]) -> None:
        keys_of, board = self._effect.keys, self._lanes.board
        async for fed in feed:
            for event in fed.events:
                places = set[int]()
                for number, key in enumerate(keys_of(event)):
                    place = partition_of(event.tenant, key)
                    places.add(place)
                    if board.takes(place, (event.position, number * limits.KEY_STRIDE)):
                        await self._enqueue(event, key, number * limits.KEY_STRIDE, place)
                board.whole(places, event.position)
            board.read(fed.upto)
            self._progress.pulse()

    async def _enqueue(self, event: Recorded[Any], key: str, index: int, place: int) -> None:
        lanes = self._lanes
        while lanes.window.full(lanes.board.opened(), lanes.parked):
            lanes.room.clear()
            await lanes.room.wait()
        if place not in lanes.board.parts:
            return  # let go while this waited
        name, kind = self._effect.name, event.kind
        item = Item(name, event.position, index, key, event.tenant, event.stream, event.version, kind.type)
        item.partition = place
        lanes.board.parts[place].open(item.place)
        lanes.window.hold(event)
        lanes.enqueue(item)

    async def _obey(self) -> None:
        lanes = self._lanes
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.OPERATOR_POLL):
                    await self._nudged.wait()
            self._looking = True
            self._nudged.clear()
            after = None
            async with self._one:
                while rows := await inbox.marked(self._store, "operator", self._effect.name, limits.FIND, after):
                    after = rows[-1]
                    for item in map(inbox.decode, rows):
                        if item.partition in lanes.board.parts:
                            await lanes.take_back(item)
            self._looking = False
            self._progress.pulse()
