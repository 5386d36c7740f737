"""Lines of CloudEvents to commits: atomic by batch, in order, and resumable, because each commit notes how far it came.

The reader works out the next batch while the store writes the last one.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from foldlog import limits
from foldlog.errors import Invalid, Refused, TooLarge
from foldlog.model.cloudevents import from_cloudevent, from_line
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch, Put, RowKey, Store, Table

IMPORTS = Table("imports")
FINGERPRINT = 65_536  # bytes of a file that its fingerprint looks at


class Line(NamedTuple):
    """A line as read: its number from 1, the offset behind it, its bytes, or None where it is too long."""

    number: int
    end: int
    text: bytes | None


class Reject(NamedTuple):
    """A line that is no event that can be stored, and why."""

    number: int
    error: Refused


class Mark(msgspec.Struct):
    """How far an import came: the next line and its offset, and what became of the lines before."""

    line: int = 1
    offset: int = 0
    imported: int = 0
    skipped: int = 0


class Group:
    """Lines for one commit, by stream."""

    def __init__(self) -> None:
        self.appends: dict[tuple[str, str], list[Draft]] = {}
        self.lines = 0
        self.size = 0
        self.rejects: list[Reject] = []

    def has_room(self, address: tuple[str, str], size: int, streams: int) -> bool:
        """Whether a line may still come in."""
        if self.lines >= limits.IMPORT_BATCH or self.size + size > limits.PAGE_BYTES:
            return False
        return address in self.appends or len(self.appends) < streams

    def add(self, address: tuple[str, str], draft: Draft, size: int) -> None:
        """Take a line in."""
        self.appends.setdefault(address, []).append(draft)
        self.lines += 1
        self.size += size


class Import:
    """One import into an open store. `name` is what its progress is kept under; "" keeps none."""

    def __init__(self, store: Store, name: str, *, category: str = "", skip: bool = False) -> None:
        self._store, self._category, self._skip = store, category, skip
        self._key = RowKey("", name) if name else None
        self._streams = min(store.capabilities.batch_streams, limits.BATCH_STREAMS)
        self._version = 0
        self._writing: asyncio.Task[Any] | None = None
        self.mark = Mark()
        self.known = False

    async def resume(self) -> None:
        """Learn from an earlier run how far it came."""
        if self._key is None:
            return
        row = (await self._store.get(IMPORTS, [self._key])).get(self._key)
        if row is not None:
            self.mark = msgspec.json.decode(row.value, type=Mark)
            self._version, self.known = row.version, True

    async def run(self, source: BinaryIO, told: Callable[[Mark, list[Reject]], None]) -> Reject | None:
        """Import what `source`, which stands at the mark's offset, still holds; returns the line that stopped it.

        `told` hears of each batch and its rejects before the batch is committed. Errors: those of `Store.commit`;
        `Conflict` where another process imports under the same name.
        """
        group = Group()
        stopped: Reject | None = None
        try:
            for line in lines(source, self.mark.line, self.mark.offset):
                found = self._read(line)
                if isinstance(found, Reject):
                    if not self._skip:
                        stopped = found
                        break
                    group.rejects.append(found)
                    self.mark.skipped += 1
                elif found is not None:
                    tenant, stream, draft = found
                    size = len(draft.body) + len(draft.meta)
                    if not group.has_room((tenant, stream), size, self._streams):
                        await self._commit(group, told)
                        group = Group()
                    group.add((tenant, stream), draft, size)
                    self.mark.imported += 1
                self.mark.line, self.mark.offset = line.number + 1, line.end
                if len(group.rejects) >= limits.IMPORT_BATCH:
                    await self._commit(group, told)
                    group = Group()
            await self._commit(group, told)
        finally:
            await self._written()
        return stopped

    def _read(self, line: Line) -> tuple[str, str, Draft] | Reject | None:
        try:
            if line.text is None:
                raise TooLarge(f"longer than {limits.LINE_BYTES:,} bytes")
            if not line.text.strip():
                return None
            return from_cloudevent(from_line(line.text), self._category)
        except Refused as error:
            return Reject(line.number, error)

    async def _commit(self, group: Group, told: Callable[[Mark, list[Reject]], None]) -> None:
        await self._written()
        told(self.mark, group.rejects)
        appends = [Append(stream, drafts, tenant=tenant) for (tenant, stream), drafts in group.appends.items()]
        rows = []
        if self._key is not None:
            rows.append(Put(IMPORTS, self._key, msgspec.json.encode(self.mark), if_version=self._version))
            self._version += 1
        if appends or rows:
            self._writing = asyncio.ensure_future(self._store.commit(Batch(appends, rows)))
            await asyncio.sleep(0)  # lets the commit begin, so that it runs while the next lines are read

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing


def lines(source: BinaryIO, number: int, offset: int) -> Iterator[Line]:
    """The lines of a source from where it stands, one at a time, however long they are."""
    while text := source.readline(limits.LINE_BYTES + 1):
        offset += len(text)
        long = len(text) > limits.LINE_BYTES
        while long and not text.endswith(b"\n") and (text := source.readline(limits.FIND_MAX)):
            offset += len(text)
        yield Line(number, offset, None if long else text)
        number += 1


def skip(source: BinaryIO, offset: int) -> None:
    """Go forward to an offset. Errors: `Invalid` where the source is shorter."""
    if source.seekable():
        source.seek(offset)
        return
    while offset:
        part = source.read(min(offset, FINGERPRINT))
        if not part:
            raise Invalid("the input is shorter than what was imported under this name before")
        offset -= len(part)


def skip_lines(source: BinaryIO, number: int) -> int:
    """Go forward to line `number`; returns its offset."""
    if number == 1:
        return 0
    for line in lines(source, 1, 0):
        if line.number == number - 1:
            return line.end
    raise Invalid(f"the input has no line {number}")


def fingerprint(path: Path) -> str:
    """What a file's progress is kept under: a digest of its name, its size and its first 64 KiB."""
    with path.open("rb") as file:
        digest = hashlib.blake2b(file.read(FINGERPRINT), digest_size=16)
    digest.update(f"\0{path.stat().st_size}\0".encode() + path.name.encode("utf-8", "surrogateescape"))
    return f"file:{digest.hexdigest()}"
