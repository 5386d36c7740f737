"""What happened in a run, in order. Kept as values and told as lines only when somebody asks."""

import re
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

from foldlog import limits
from foldlog.flow.inbox import INBOX
from foldlog.flow.lease import CHECKPOINTS
from foldlog.ports.store import Batch, Delete, Put, RowChange

_ADDRESS = re.compile(" at 0x[0-9a-fA-F]+")


class Entry(NamedTuple):
    """Something that happened: when (seconds of the run), to whom, and a function that tells it."""

    at: float
    who: str
    tell: Callable[..., str]
    told: tuple[Any, ...]

    def line(self) -> str:
        """It, as a line; without what belongs to the machinery alone, "" where nothing else is left."""
        return f"{self.at:10.6f}  {self.who:8} {self.tell(*self.told)}"


class Trace:
    """The entries of one run, in order; at most `limits.SIMULATION_TRACE` are kept, the others are only counted."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.dropped = 0

    def add(self, at: float, who: str, tell: Callable[..., str], *told: Any) -> None:
        """Keep one more."""
        if len(self.entries) < limits.SIMULATION_TRACE:
            self.entries.append(Entry(at, who, tell, told))
        else:
            self.dropped += 1

    def lines(self) -> Iterator[str]:
        """All of it."""
        for entry in self.entries:
            yield entry.line()
        if self.dropped:
            yield f"and {self.dropped} more"

    def story(self) -> Iterator[str]:
        """What a reader wants to see first: without commits that keep only leases and checkpoints."""
        for entry in self.entries:
            if entry.tell is not commit or _matters(entry.told[0]):
                yield entry.line()

    def digest(self) -> str:
        """32 hex digits that are the same for the same lines."""
        digest = blake2b(digest_size=16)
        for line in self.lines():
            digest.update(f"{line}\n".encode(errors="surrogatepass"))
        return digest.hexdigest()


def without_addresses(text: str) -> str:
    """A text without the addresses that Python's default repr shows: no two runs share them."""
    return _ADDRESS.sub(" at 0x...", text)


def plain(text: str) -> str:
    """A line that is a text already."""
    return text


def commit(batch: Batch, came_of_it: str) -> str:
    """A commit: which events, which rows, and what came of it."""
    told: list[str] = []
    for append in batch.appends:
        types = ", ".join(draft.type for draft in append.drafts)
        told.append(f"{append.stream}: {types}")
    told += [_row(change) for change in batch.rows]
    return f"commits {'; '.join(told)} -> {came_of_it}"


def _row(change: RowChange) -> str:
    sign = "-" if isinstance(change, Delete) else "+"
    upto = f"={change.position}" if isinstance(change, Put) and change.table.name == CHECKPOINTS.name else ""
    return f"{sign}{change.table.name}/{change.key.key}{upto}"


def _matters(batch: Batch) -> bool:
    return bool(batch.appends) or any(row.table.name not in {CHECKPOINTS.name, INBOX.name} for row in batch.rows)
