"""Who runs a function's partitions, and up to where each came: a row a partition, the checkpoint and the lease.

Every checkpoint renews the lease. A takeover raises the row's version, so a stale owner's next checkpoint fails, and
with it everything that was to be committed in the same batch. So whatever belongs to a partition is committed together
with its checkpoint.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Conflict, Misconfigured
from foldlog.flow.monotonic import monotonic
from foldlog.flow.partition import ALL, Holder
from foldlog.model.clock import Clock
from foldlog.ports.store import Batch, Delete, Put, Range, Row, RowChange, RowKey, Store, Table

CHECKPOINTS = Table("checkpoints")


class Checkpoint(msgspec.Struct, frozen=True):
    """The row's value. `log` and `epoch` say which log the position counts in; `until` is microseconds since 1970."""

    position: int
    owner: str = ""
    until: int = 0
    log: str = ""
    epoch: int = 0


def decode(row: Row) -> Checkpoint:
    """The checkpoint in a row."""
    return msgspec.json.decode(row.value, type=Checkpoint)


def checkpoint_key(function: str, partition: int) -> RowKey:
    """Where the checkpoint of a function's partition stands."""
    return RowKey("", f"{function}/{partition:02d}")


def _keys(function: str) -> dict[RowKey, int]:
    return {checkpoint_key(function, number): number for number in ALL}


async def checkpoints(store: Store, function: str) -> dict[int, Checkpoint]:
    """The checkpoints of a function's partitions as anybody may read them; empty before its first run."""
    keys = _keys(function)
    found = await store.get(CHECKPOINTS, list(keys))
    return {keys[key]: decode(row) for key, row in found.items()}


async def checkpoint(store: Store, function: str) -> Checkpoint | None:
    """The lowest of a function's checkpoints, or None before its first run: it has seen everything up to there.

    A partition that no event concerned may lag behind what its owner has seen by `limits.CHECKPOINT` seconds.
    """
    found = await checkpoints(store, function)
    return min(found.values(), key=lambda one: one.position, default=None)


async def all_checkpoints(store: Store) -> dict[str, Checkpoint]:
    """The checkpoints of all functions that ever ran, by the keys of their rows."""
    found: dict[str, Checkpoint] = {}
    after: Row | None = None
    more = True
    while more:
        rows, more = await store.scan(CHECKPOINTS, Range(after=after, limit=limits.FIND_MAX))
        found.update((row.key.key, decode(row)) for row in rows)
        after = rows[-1] if rows else after
    return found


def function_of(key: str) -> str:
    """The function that a checkpoint's row belongs to."""
    return key.partition("/")[0]


class _Seen(NamedTuple):
    """A partition's row as it was last looked at, and since when it has not changed by this process's own clock."""

    version: int
    value: bytes
    checkpoint: Checkpoint
    since: float


class _Held:
    """A partition's row as its owner last wrote it."""

    __slots__ = ("position", "renewed", "renewed_here", "version")

    def __init__(self, version: int, position: int, renewed: int) -> None:
        self.version, self.position, self.renewed = version, position, renewed
        self.renewed_here = monotonic()


_NOBODY = Holder("", 0)


class Lease:
    """One owner's hold on partitions of one function.

    Its commits go one after the other, whoever asks for them: each is on condition of what the one before it wrote.
    """

    def __init__(self, store: Store, clock: Clock, function: str, owner: str, seconds: float = limits.LEASE) -> None:
        self._store, self._clock, self.function, self._owner, self._seconds = store, clock, function, owner, seconds
        self._keys = _keys(function)
        self._held: dict[int, _Held] = {}
        self._seen: dict[int, _Seen] = {}
        self._turn = asyncio.Lock()

    @property
    def held(self) -> list[int]:
        """The partitions that are ours."""
        return sorted(self._held)

    def holds(self, partition: int) -> bool:
        """Whether a partition is ours, as far as this process knows."""
        return partition in self._held

    def fence(self, partition: int) -> int:
        """Rises with every owner and every checkpoint; for systems outside that can refuse a late writer."""
        return self._held[partition].version

    def position(self, partition: int) -> int:
        """A partition's checkpoint as it is stored."""
        return self._held[partition].position

    @property
    def idle(self) -> float:
        """Seconds for which an owner may wait before it looks whether it must renew."""
        return min(limits.CHECKPOINT, self._seconds / 3)

    def lagging(self, positions: Mapping[int, int]) -> list[int]:
        """Those of `positions` that need a commit though nothing of theirs changed: they must be renewed, or their
        checkpoint has long enough been behind. When one must be renewed all are, in the same commit."""
        held = {number: self._held[number] for number in positions}
        if any(self._passed(one, self._seconds / 3) for one in held.values()):
            return list(held)
        return [
            number
            for number, one in held.items()
            if positions[number] > one.position and self._passed(one, limits.CHECKPOINT)
        ]

    def _passed(self, held: _Held, seconds: float) -> bool:
        # By both clocks that others may judge by; one that was set back tells nothing.
        since = self._clock.now() - held.renewed
        return since > seconds * 1e6 or since < 0 or monotonic() - held.renewed_here > seconds

    def forget(self) -> None:
        """Nothing is ours any more, whatever the rows say: after a lost lease."""
        self._held.clear()

    async def look(self) -> dict[int, Holder]:
        """Who holds each partition now. Errors: `Misconfigured` where a checkpoint belongs to another log."""
        found = await self._store.get(CHECKPOINTS, list(self._keys))
        here, before = monotonic(), self._seen
        self._seen = {}
        for key, row in found.items():
            number = self._keys[key]
            seen = before.get(number)
            # By the value as well: a version comes again where the row was deleted meanwhile.
            if seen is None or (seen.version, seen.value) != (row.version, row.value):
                seen = _Seen(row.version, row.value, self._checked(decode(row)), here)
            self._seen[number] = seen
        now = self._clock.now()
        return {number: self._holder(number, now, here) for number in ALL}

    def _checked(self, checkpoint: Checkpoint) -> Checkpoint:
        identity = self._store.identity
        if (checkpoint.log, checkpoint.epoch) != (identity.log, identity.epoch):
            raise Misconfigured(
                f"the checkpoint of {self.function} belongs to another log ({checkpoint.log}, epoch "
                f"{checkpoint.epoch}); its position means nothing here"
            )
        return checkpoint

    def _holder(self, number: int, now: int, here: float) -> Holder:
        if number not in self._seen:
            return _NOBODY
        if self.holds(number):
            return Holder(self._owner, self._seconds)
        _, _, checkpoint, since = self._seen[number]
        if checkpoint.owner in {"", self._owner}:
            return _NOBODY  # ours, but from a run that is over: to be taken like any other
        # A row that nobody renews is free by this process's own monotonic clock, too, whatever clocks say.
        left = min((checkpoint.until - now) / 1e6, self._seconds - (here - since))
        return Holder(checkpoint.owner, max(0.0, left))

    async def take(self, partitions: Iterable[int], first: int) -> bool:
        """Take partitions as they were at the last look; False when somebody else was faster: then look again.

        `first` is the position at which a function begins that never ran: then all its checkpoints are made, those that
        are not taken for others to take, so that every partition begins at the same position.
        """
        wanted, puts = list(partitions), []
        for number in ALL:
            version, position = self._found(number, first)
            if number in wanted:
                puts.append(self._put(number, version, position, self._owner))
            elif not version:
                puts.append(self._put(number, 0, first, ""))
        async with self._turn:
            try:
                await self._store.commit(Batch(rows=puts))
            except Conflict:
                return False
            for number in wanted:
                version, position = self._found(number, first)
                self._held[number] = _Held(version + 1, position, self._clock.now())
        return True

    def _found(self, number: int, first: int) -> tuple[int, int]:
        seen = self._seen.get(number)
        return (0, first) if seen is None else (seen.version, seen.checkpoint.position)

    async def commit(self, rows: Sequence[RowChange], positions: Mapping[int, int]) -> None:
        """Commit rows and the checkpoints of their partitions together; a checkpoint never goes back.

        Errors: `Conflict` when one of the leases was lost: nothing is stored.
        """
        async with self._turn:
            upto = {number: max(position, self._held[number].position) for number, position in positions.items()}
            puts = [self._put(number, self._held[number].version, at, self._owner) for number, at in upto.items()]
            await self._store.commit(Batch(rows=[*rows, *puts]))
            now = self._clock.now()
            for number, position in upto.items():
                self._held[number] = _Held(self._held[number].version + 1, position, now)

    async def release(self, positions: Mapping[int, int]) -> None:
        """Let partitions go at these positions, so that the next owner need not wait. Errors: `Conflict`."""
        if not positions:
            return
        async with self._turn:
            puts = []
            for number, position in positions.items():
                held = self._held[number]
                puts.append(self._put(number, held.version, max(position, held.position), ""))
            await self._store.commit(Batch(rows=puts))
            for number in positions:
                del self._held[number]

    async def remove(self, rows: Sequence[RowChange]) -> None:
        """Commit rows and forget the function, all of whose partitions are ours: whoever runs it next begins anew.

        Errors: `Conflict`.
        """
        async with self._turn:
            gone = [
                Delete(CHECKPOINTS, checkpoint_key(self.function, one), self._held[one].version) for one in self._held
            ]
            await self._store.commit(Batch(rows=[*rows, *gone]))
            self._held.clear()

    def _put(self, number: int, version: int, position: int, owner: str) -> Put:
        until = self._clock.now() + int(self._seconds * 1e6) if owner else 0
        identity = self._store.identity
        value = msgspec.json.encode(Checkpoint(position, owner, until, identity.log, identity.epoch))
        return Put(CHECKPOINTS, checkpoint_key(self.function, number), value, if_version=version, position=position)
