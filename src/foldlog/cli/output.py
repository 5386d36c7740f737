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
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STEERING = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_WIDE = 160  # columns where nobody looks: a pipe or a file

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
        self.console.print(table(columns, rows, last_cut=last_cut))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, last_cut: bool = False) -> Table:
    """As `Output.table` prints it."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    listed = [list(row) for row in rows]
    for number, name in enumerate(columns):
        right = bool(listed) and all(isinstance(row[number], int) for row in listed)
        cut = last_cut and number == len(columns) - 1
        made.add_column(name, justify="right" if right else "left", no_wrap=cut, overflow="ellipsis" if cut else "fold")
    for row in listed:
        made.add_row(*map(cell, row))
    return made


def note(text: object) -> None:
    """A remark on standard error."""
    click.echo(safe(text), err=True)
