"""Indexes in two storeys: new entries stand in a small table and move into the large one in order, a stretch at a time.

The entries of one commit are scattered over their index: each would rewrite a page of its own, and the written pages
are what a commit costs. In the small table they share a few pages, and moved in order they share pages of the large one
too. The idea is that of P. O'Neil et al., "The Log-Structured Merge-Tree" (Acta Informatica 33, 1996).

The leading entries of a stretch move first, so that of one stream, or of one tag, everything in the large table comes
before everything in the small one: who reads both in that order needs no merge.
"""

from typing import Any

import apsw

NEW_ENTRIES = 2_048
"""An index's new entries: about ten pages, which stay in the cache. Half and twice as many were measured as fast."""
STRETCH = 256  # entries moved at once: few milliseconds, however scattered they are


class Storeys:
    """One index of the writer: its large table, and `<name>_new`, the small one. `keys` are its leading columns,
    `start` is what comes before every entry."""

    def __init__(self, conn: apsw.Connection, name: str, keys: tuple[str, ...], start: tuple[Any, ...]) -> None:
        self._conn, self._small = conn, f"{name}_new"
        here, marks = ", ".join(keys), ", ".join("?" * len(keys))
        behind, upto = f"({here}) > ({marks})", f"({here}) <= ({marks})"
        self._last = f"SELECT {here} FROM {self._small} WHERE {behind} ORDER BY {here} LIMIT 1 OFFSET ?"
        self._final = f"SELECT {here} FROM {self._small} ORDER BY {', '.join(f'{key} DESC' for key in keys)} LIMIT 1"
        within = f"FROM {self._small} WHERE {behind} AND {upto}"
        self._copy = f"INSERT INTO {name} SELECT * {within} ORDER BY {here}"
        self._remove = f"DELETE {within}"
        self._start = self._moved = start
        self.entries = 0

    @property
    def count(self) -> str:
        """The query of how many entries stand in the small table."""
        return f"SELECT count(*) FROM {self._small}"

    def restart(self) -> None:
        """What was moved last was rolled back."""
        self._moved = self._start

    def grow(self, entries: int) -> None:
        """Entries were written to the small table; move some where they have become too many."""
        self.entries += entries
        while (over := self.entries - NEW_ENTRIES) > 0:
            self._move(max(over, STRETCH))

    def _move(self, entries: int) -> None:
        """Move about so many entries behind the last one that was moved; from the first one again at the end."""
        last = self._conn.execute(self._last, (*self._moved, entries - 1)).get
        end = last or self._conn.execute(self._final).get
        span = (*self._moved, *end)
        self._conn.execute(self._copy, span).get
        self._conn.execute(self._remove, span).get
        self.entries -= self._conn.changes()
        self._moved = last or self._start
