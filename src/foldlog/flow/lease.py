"""Who runs a function, and up to where it came: one row, {owner, until, position}, the checkpoint and the lease.

Every checkpoint renews the lease. A takeover raises the row's version, so a stale owner's next checkpoint fails, and
with it everything that was to be committed in the same batch.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from foldlog import limits
from foldlog.errors import Conflict, Misconfigured
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


async def checkpoint(store: Store, function: str) -> Checkpoint | None:
    """A function's checkpoint as anybody may read it, or None before its first run."""
    key = RowKey("", function)
    row = (await store.get(CHECKPOINTS, [key])).get(key)
    return decode(row) if row else None


async def checkpoints(store: Store) -> dict[str, Checkpoint]:
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


class Lease:
    """One owner's hold on one function. Not shared between tasks that commit at the same time."""

    def __init__(self, store: Store, clock: Clock, function: str, owner: str, seconds: float = limits.LEASE) -> None:
        self._store, self._clock, self.function, self._owner, self._seconds = store, clock, function, owner, seconds
        self._version = 0
        self._renewed = 0
        self._seen = (0, 0.0)
        self.position = 0

    @property
    def fence(self) -> int:
        """Rises with every owner and every checkpoint; for systems outside that can refuse a late writer."""
        return self._version

    @property
    def renew_every(self) -> float:
        """Seconds after which an idle owner renews."""
        return self._seconds / 3

    @property
    def idle(self) -> float:
        """Seconds for which an owner may wait before it looks whether it must renew."""
        return min(limits.CHECKPOINT, self.renew_every)

    def overtaken(self, position: int) -> bool:
        """Whether the checkpoint has long enough been behind `position`, though nothing else needed a commit."""
        return position > self.position and self._passed(limits.CHECKPOINT)

    def due(self) -> bool:
        """Whether an idle owner should renew now."""
        return self._passed(self.renew_every)

    def _passed(self, seconds: float) -> bool:
        since = self._clock.now() - self._renewed
        return since > seconds * 1e6 or since < 0  # a clock that was set back tells nothing

    async def acquire(self, first: int) -> float:
        """Take the lease: 0 when it is ours, else the seconds until it may be free.

        `first` is the position at which a function begins that never ran. Errors: `Misconfigured` where the checkpoint
        belongs to another log.
        """
        key = RowKey("", self.function)
        row = (await self._store.get(CHECKPOINTS, [key])).get(key)
        self._version, self.position = 0, first
        if row is not None:
            held = decode(row)
            identity = self._store.identity
            if (held.log, held.epoch) != (identity.log, identity.epoch):
                raise Misconfigured(
                    f"the checkpoint of {self.function} belongs to another log ({held.log}, epoch {held.epoch}); its "
                    "position means nothing here"
                )
            left = min((held.until - self._clock.now()) / 1e6, self._unchanged(row.version))
            if held.owner not in {"", self._owner} and left > 0:
                return left
            self._version, self.position = row.version, held.position
        try:
            await self.commit([], self.position)
        except Conflict:
            return self.renew_every
        return 0

    def _unchanged(self, version: int) -> float:
        """Seconds until a row that nobody renews is free by this process's own monotonic clock, whatever clocks say."""
        now = asyncio.get_running_loop().time()
        if self._seen[0] != version:
            self._seen = version, now
        return self._seen[1] + self._seconds - now

    async def commit(self, rows: Sequence[RowChange], position: int) -> None:
        """Commit rows and the checkpoint together. Errors: `Conflict` when the lease was lost: nothing is stored."""
        await self._commit(rows, position, self._owner)

    async def remove(self, rows: Sequence[RowChange]) -> None:
        """Commit rows and forget the function: whoever runs it next begins anew. Errors: as for `commit`."""
        gone = Delete(CHECKPOINTS, RowKey("", self.function), self._version)
        await self._store.commit(Batch(rows=[*rows, gone]))

    async def release(self) -> None:
        """Let go, so that the next owner need not wait."""
        await self._commit((), self.position, "")

    async def _commit(self, rows: Sequence[RowChange], position: int, owner: str) -> None:
        await self._store.commit(Batch(rows=[*rows, self._put(position, owner)]))
        self._version += 1
        self._renewed = self._clock.now()
        self.position = position

    def _put(self, position: int, owner: str) -> Put:
        until = self._clock.now() + int(self._seconds * 1e6) if owner else 0
        identity = self._store.identity
        value = msgspec.json.encode(Checkpoint(position, owner, until, identity.log, identity.epoch))
        return Put(CHECKPOINTS, RowKey("", self.function), value, if_version=self._version, position=position)
