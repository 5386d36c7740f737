"""The small tables that events refer to by number, in memory: kinds and stream names."""

import threading
from array import array
from collections.abc import Collection, Iterable
from typing import Any, cast

import apsw

from foldlog import limits
from foldlog.model.message import Kind, KindFactory

Said = tuple[str, str, int, str]
"""(category, type, schema, encoding)"""


class Kinds:
    """The kinds by id, and ids by what they say. Kinds are never changed or removed, so one can only be missing."""

    def __init__(self, make: KindFactory = Kind) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._newest = 0
        self.by_id: dict[int, Kind] = {}
        self.ids: dict[Said, int] = {}

    def refresh(self, conn: apsw.Connection, newest: int) -> None:
        """Know all kinds up to `newest`, the highest id that the connection's transaction sees."""
        if newest <= self._newest:
            return
        with self._lock:
            found: list[Any] = conn.execute("SELECT * FROM kinds WHERE id > ? ORDER BY id", (self._newest,)).fetchall()
            for number, *said in found:
                self.add(number, cast(Said, tuple(said)))

    def add(self, number: int, said: Said) -> None:
        if number > self._newest:
            self.by_id[number] = self._make(*said)
            self.ids[said] = number
            self._newest = number

    def matching(self, types: Collection[str], category: str | None) -> list[int]:
        """The ids of all kinds of these types (none: any) in this category (None: any)."""
        return [
            number
            for said, number in tuple(self.ids.items())
            if (not types or said[1] in types) and (category is None or said[0] == category)
        ]

    @property
    def newest(self) -> int:
        return self._newest


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
