"""What people and machines get to see: tables or JSON on standard output, errors on standard error.

Events hold text that anybody may have written. It is never read as rich's markup, and what could steer a terminal is
shown as an escape.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_STEERING = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_WIDE = 160  # columns where nobody looks: a pipe or a file
_GAP = 2  # columns between two of a table
_ROOM = 32  # columns that the last one of a table needs at least, or it begins a line of its own

_encode = msgspec.json.Encoder(decimal_format="string").encode


def safe(text: object) -> str:
    """Text that cannot steer a terminal: what does not print is shown as an escape."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in shown)


def cell(text: object) -> Text:
    """A table's cell, taken literally."""
    return Text(safe(text))


def to_json(value: Any) -> str:
    """One line of JSON. Characters that steer terminals are escaped: such characters stand in texts only, so it stays
    the same JSON."""
    line = _encode(value).decode()
    if _STEERING.search(line):
        line = _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
    return line


class _Plain(Console):
    """Leaves a reader that went away to `program`; rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        """Say so."""
        raise BrokenPipeError


class Output:
    """Standard output for one command: JSON for machines, or tables for people."""

    def __init__(self, machine: bool) -> None:
        self.machine = machine
        self.console = _Plain(
            file=sys.stdout, highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDE
        )

    @property
    def redraws(self) -> bool:
        """Whether what stands there can be drawn anew: it goes to a terminal, and to one that can do so."""
        return sys.stdout.isatty() and self.console.is_terminal and not self.console.is_dumb_terminal

    def json(self, value: Any) -> None:
        """One JSON value on a line of its own."""
        sys.stdout.write(f"{to_json(value)}\n")

    def say(self, text: object) -> None:
        """A line for people, whole however wide the terminal is."""
        self.console.print(cell(text), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, last_cut: bool = False) -> None:
        """A table; numbers to the right. `last_cut` keeps the last column on one line."""
        made = Rows(columns, rows, last_cut=last_cut, broken=sys.stdout.isatty())
        self.console.print(made, soft_wrap=True)


class Rows:
    """A table as `Output.table` prints it.

    Where a terminal is too narrow, header and rows are broken between two columns and go on indented; only the last
    column, and one that is wider than the terminal, are folded. Where nobody looks a row is one line, for `grep`.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        last_cut: bool = False,
        broken: bool = True,
    ) -> None:
        listed = [list(row) for row in rows]
        self._right = [
            bool(listed) and all(isinstance(row[number], int) for row in listed) for number in range(len(columns))
        ]
        self._cells = [list(columns), *([safe(one) for one in row] for row in listed)]
        self._widths = [max(cell_len(row[number]) for row in self._cells) for number in range(len(columns))]
        self._cut, self._broken = last_cut, broken

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width, _ROOM)
        lines = self._packed(width) if self._broken else [range(len(self._widths))]
        for number, row in enumerate(self._cells):
            for columns in lines:
                for line in self._line(row, columns, width):
                    yield Text(line, style="" if number else "bold", no_wrap=True, overflow="ignore")

    def _packed(self, width: int) -> list[range]:
        """The columns that stand on one line, for each line."""
        lines, begin, used = list[range](), 0, 0
        for number, wanted in enumerate(self._widths):
            last = number == len(self._widths) - 1
            needs = min(wanted, _ROOM) if last else wanted
            if number > begin and used + _GAP + needs > width:
                lines.append(range(begin, number))
                begin, used = number, _GAP
            elif number > begin:
                used += _GAP
            used += wanted
        return [*lines, range(begin, len(self._widths))]

    def _line(self, row: Sequence[str], columns: range, width: int) -> list[str]:
        shown = " " * (_GAP if columns.start else 0)
        for number in columns[:-1]:
            blank = " " * (self._widths[number] - cell_len(row[number]))
            shown += (blank + row[number] if self._right[number] else row[number] + blank) + " " * _GAP
        last, room = row[columns[-1]], max(width - cell_len(shown), 1)
        if self._right[columns[-1]]:
            last = " " * (self._widths[columns[-1]] - cell_len(last)) + last
        if cell_len(last) <= room:
            return [(shown + last).rstrip()]
        if self._cut and columns.stop == len(row):
            return [f"{shown}{set_cell_size(last, room - 1)}…"]
        if not self._broken:
            return [shown + last]
        first, *more = chop_cells(last, room)
        return [shown + first, *(" " * cell_len(shown) + one for one in more)]


def note(text: object) -> None:
    """A remark on standard error."""
    click.echo(safe(text), err=True)
