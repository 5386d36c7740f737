"""The small tables that events refer to by number, in memory: kinds and stream names."""

import threading
from array import array
from collections.abc import Iterable
from typing import Any, cast

import apsw

from foldlog import limits
from foldlog.engines import kinds
from foldlog.model.message import Kind, KindFactory


class Kinds(kinds.Kinds):
    """The kinds, read from the file; shared by readers."""

    def __init__(self, make: KindFactory = Kind) -> None:
        super().__init__(make)
        self._lock = threading.Lock()

    def refresh(self, conn: apsw.Connection, newest: int) -> None:
        """Know all kinds up to `newest`, the highest id that the connection's transaction sees."""
        if newest <= self.newest:
            return
        with self._lock:
            found: list[Any] = conn.execute("SELECT * FROM kinds WHERE id > ? ORDER BY id", (self.newest,)).fetchall()
            for number, *said in found:
                self.add(number, cast(kinds.Said, tuple(said)))


class Streams:
    """(tenant, name) of streams by id; a bounded cache, shared by readers."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, str]] = {}

    def names(self, conn: apsw.Connection, ids: Iterable[int]) -> dict[int, tuple[str, str]]:
        """A dictionary with at least these ids."""
        wanted = set(ids)
        names = self._names
        missing = wanted.difference(names)
        if not missing:
            return names
        if len(names) + len(missing) > limits.STREAM_CACHE:
            # Others may be using the full one: leave it to them, and go on with a new one.
            names = self._names = {}
            missing = wanted
        found = conn.execute(
            "SELECT s.id, s.tenant, s.name FROM carray(?) AS c CROSS JOIN streams AS s ON s.id = c.value",
            (apsw.carray(array("q", missing)),),
        )
        for number, tenant, name in found:
            names[number] = tenant, name
        return names
