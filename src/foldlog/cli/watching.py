"""What a command lists, printed once, or with `--watch` again and again until Ctrl-C."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from rich.console import Group
from rich.live import Live

from foldlog import limits
from foldlog.cli.output import Output, Rows, cell, note

T = TypeVar("T")

watch_option = click.option(
    "--watch",
    "every",
    metavar="[SECONDS]",
    type=click.IntRange(1, limits.WATCH),
    is_flag=False,
    flag_value=1,
    help="Look again every second, or as often as it says, until Ctrl-C; with --json one array a look.",
)


@dataclass(frozen=True, slots=True)
class Listed:
    """What one look found: `values` for machines; for people a table, and a remark about it."""

    values: Sequence[Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    remark: str = ""


def print_listed(
    opened: Callable[[], AbstractAsyncContextManager[T]],
    look: Callable[[T], Awaitable[Listed]],
    machine: bool,
    every: int | None,
) -> None:
    """Print what `look` finds in what is `opened`, once, or `every` so many seconds; then only Ctrl-C ends it."""

    async def do() -> None:
        async with opened() as there:
            await _print(lambda: look(there), Output(machine), every)

    asyncio.run(do())


async def _print(look: Callable[[], Awaitable[Listed]], output: Output, every: int | None) -> None:
    if every is None:
        found = await look()
        if output.machine:
            for one in found.values:
                output.json(one)
        else:
            _tell(output, found)
    elif output.machine or not output.redraws:
        while True:
            found = await look()
            if output.machine:
                output.json(found.values)
            else:
                _tell(output, found)
                output.say("")
            sys.stdout.flush()
            await asyncio.sleep(every)
    else:
        with Live(console=output.console, auto_refresh=False) as live:
            while True:
                found = await look()
                remarks = [cell(found.remark)] if found.remark else []
                live.update(Group(Rows(found.columns, found.rows), *remarks), refresh=True)
                await asyncio.sleep(every)


def _tell(output: Output, found: Listed) -> None:
    output.table(found.columns, found.rows)
    if found.remark:
        note(found.remark)
