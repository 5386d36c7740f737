"""`foldlog views rebuild | diff | switch | back | drop`: a read model changed without downtime."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from foldlog import limits
from foldlog.app import App
from foldlog.cli.output import Output, note, safe, to_json
from foldlog.cli.target import OnTarget, json_option, tenant_option
from foldlog.cli.views import Place, app_of, projection_of
from foldlog.errors import Invalid
from foldlog.flow import serving
from foldlog.flow.difference import Difference, differences
from foldlog.flow.dropping import drop
from foldlog.flow.serving import Served
from foldlog.model.finding import counted
from foldlog.model.projection import Projection
from foldlog.runtime.building import build_view
from foldlog.runtime.serve import until_signal
from foldlog.system import System

T = TypeVar("T")

_name = click.argument("name")
_version = click.option("--version", type=click.IntRange(1), metavar="N", help="Another version than the code's.")


@click.command(cls=OnTarget)
@_name
@click.option("--rate", type=click.IntRange(1), metavar="N", help="At most N events a second.")
@json_option
@click.pass_obj
def rebuild(place: Place, name: str, rate: int | None, machine: bool) -> None:
    """Build the version of a projection that APP's code has, beside the one that is read, in this process.

    Goes on where it was stopped, by Ctrl-C (exit code 130) or otherwise. Without --rate it is as fast as it can be, and
    makes room while others write. Handlers do not run. Reads stay as they are until the code is deployed, or until
    `switch`.

    Examples:
      foldlog views new.py rebuild balances
      foldlog views new.py rebuild balances --rate 20000
    """
    done = _with_system(place, name, lambda system, part: _build(system, part, rate, machine))
    output = Output(machine)
    if machine:
        output.json(done)
    elif done["built"]:
        output.say(f"{name} version {done['version']} is built; version {done['read']} is read")
    if not done["built"]:
        note("stopped; the same command goes on from here")
        raise KeyboardInterrupt


@click.command(cls=OnTarget)
@_name
@click.option("--from", "first", type=click.IntRange(1), metavar="N", help="Compare this one; without it the one read.")
@click.option("--to", "second", type=click.IntRange(1), metavar="N", help="With this one; without it the code's.")
@click.option("--limit", type=click.IntRange(1), default=limits.DIFFERENCES, show_default=True)
@tenant_option
@json_option
@click.pass_context
def diff(
    context: click.Context,
    /,
    name: str,
    first: int | None,
    second: int | None,
    limit: int,
    tenant: str,
    machine: bool,
) -> None:
    """Show which rows differ between two versions of a projection; exit code 1 where some do.

    Goes through all rows of one tenant in order of their keys, shows the first that differ, and counts all. Where the
    two have not come equally far, rows differ for that alone.

    Examples:
      foldlog views bank.py diff balances
      foldlog views bank.py diff balances --from 1 --to 2 --limit 100 --json
    """
    found = _with_system(context.obj, name, lambda system, part: _compare(system, part, first, second, limit, tenant))
    total = sum(found.counts.values())
    if found.apart:
        note(f"{found.apart}: some rows may differ for that alone")
    output = Output(machine)
    if machine:
        for one in found.shown:
            output.json(one._asdict())
    else:
        if found.shown:
            output.table(("key", "what", "from", "to"), [_row(one) for one in found.shown])
        told = ", ".join(f"{count} {kind}" for kind, count in found.counts.items())
        output.say(told if total else "no row differs")
    if total > len(found.shown):
        note(f"{total} rows differ, {len(found.shown)} shown: --limit")
    if total:
        context.exit(1)


@click.command(cls=OnTarget)
@_name
@_version
@json_option
@click.pass_obj
def switch(place: Place, name: str, version: int | None, machine: bool) -> None:
    """Let every process read another version of a projection, the code's own unless --version names one.

    One commit; every process reads it a second later at the latest. Refused for a version that is not built.

    Examples:
      foldlog views bank.py switch balances
      foldlog views bank.py switch balances --version 3 --json
    """
    _point(place, name, lambda system, part: serving.switch(system.store, name, version or part.version), machine)


@click.command(cls=OnTarget)
@_name
@json_option
@click.pass_obj
def back(place: Place, name: str, machine: bool) -> None:
    """Take the last switch of a projection back: the version before is read again, as far as it has come.

    Nobody may have kept that version up since; it says how far behind the log it is.

    Example:
      foldlog views bank.py back balances
    """
    _point(place, name, lambda system, _: serving.back(system.store, name), machine)


@click.command("drop", cls=OnTarget)
@_name
@click.argument("version", type=click.IntRange(1))
@click.option("--removed", is_flag=True, help="No code has the projection any more: the version that is read goes too.")
@json_option
@click.pass_obj
def drop_version(place: Place, name: str, version: int, removed: bool, machine: bool) -> None:
    """Remove a version of a projection for good: its table, its checkpoint and its dead letters.

    Refused for the version that is read, and for one that a running process keeps up. A projection that APP does not
    list is dropped with --removed, its other versions before the one that is read.

    Examples:
      foldlog views bank.py drop balances 1
      foldlog views bank.py drop old-balances 1 --removed
    """
    letters = asyncio.run(_drop(app_of(place), name, version, removed=removed))
    output = Output(machine)
    if machine:
        output.json({"name": name, "dropped": version, "dead_letters": letters})
    else:
        output.say(f"{name} version {version} is dropped, {counted(letters, 'dead letter')} with it")


async def _drop(app: App, name: str, version: int, *, removed: bool) -> int:
    listed = any(isinstance(part, Projection) and part.name == name for part in app.parts)
    if listed and removed:
        raise Invalid(f"this app lists the projection {name!r}: --removed is for those that no code has any more")
    async with app.open(functions=False):
        system = app.system
        if not listed and not removed:
            known = await serving.versions(system.store, name)
            if not known:
                projection_of(app, name)
            there = ", ".join(str(one.version) for one in known)
            raise Invalid(f"this app lists no projection {name!r}, the store has version {there}: --removed drops it")
        return await drop(system.store, system.clock, system.owner, name, version, removed=removed)


VERSION_COMMANDS = rebuild, diff, switch, back, drop_version


class _Compared(NamedTuple):
    shown: list[Difference]
    counts: dict[str, int]
    apart: str


async def _compare(
    system: System, part: Projection[Any, Any], first: int | None, second: int | None, limit: int, tenant: str
) -> _Compared:
    store, name = system.store, part.name
    served, _ = await serving.pointer(store, name)
    old, new = first or (served.current if served else part.version), second or part.version
    if old == new:
        raise Invalid(f"version {new} of view {name!r} is the one that is read: name another by --from or --to")
    tables = [(await serving.known_version(store, name, one))[0].table(name) for one in (old, new)]
    at = [(await serving.progress(store, name, one)).position for one in (old, new)]
    found = _Compared([], {"changed": 0, "missing": 0, "new": 0}, "")
    async for one in differences(store, tables[0], tables[1], tenant):
        found.counts[one.kind] += 1
        if len(found.shown) < limit:
            found.shown.append(one)
    if at[0] == at[1]:
        return found
    return found._replace(apart=f"version {old} is at position {at[0]}, version {new} at {at[1]}")


def _point(
    place: Place, name: str, work: Callable[[System, Projection[Any, Any]], Awaitable[Served]], machine: bool
) -> None:
    async def do(system: System, part: Projection[Any, Any]) -> tuple[Served, int]:
        served = await work(system, part)
        return served, (await serving.progress(system.store, name, served.current)).behind

    served, behind = _with_system(place, name, do)
    output = Output(machine)
    if machine:
        output.json({"name": name, "read": served.current, "before": served.before, "behind": behind})
    else:
        output.say(f"version {served.current} of {name} is read now, {counted(behind, 'position')} behind the log")


async def _build(system: System, part: Projection[Any, Any], rate: int | None, machine: bool) -> dict[str, Any]:
    with until_signal() as stop, _Bar(f"{part.name} version {part.version}", machine) as told:
        built = await build_view(system, system.views[part.name], stop, rate, told)
    state = await serving.progress(system.store, part.name, part.version)
    served, _ = await serving.pointer(system.store, part.name)
    return {
        "name": part.name,
        "version": part.version,
        "built": built,
        "read": served.current if served else part.version,
        "position": state.position,
        "percent": state.percent,
    }


class _Bar:
    """A progress bar on standard error, where somebody looks; else nothing."""

    def __init__(self, what: str, machine: bool) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[more]}")
        hidden = machine or not sys.stderr.isatty()
        self._progress = Progress(*columns, console=Console(file=sys.stderr), disable=hidden)
        self._task = self._progress.add_task(safe(what), total=100.0, more="")

    def __enter__(self) -> Callable[[serving.BuildProgress], None]:
        self._progress.start()
        return self._told

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _told(self, state: serving.BuildProgress) -> None:
        rate = f"{state.rate:,.0f}/s" if state.rate and state.eta is not None else ""
        eta = "" if state.eta is None else f"{state.eta:,.0f} s left"
        self._progress.update(self._task, completed=state.percent, more=f"{rate} {eta}")


def _row(one: Difference) -> tuple[object, ...]:
    first, second = (
        "" if one.kind == absent else to_json(row) for absent, row in (("new", one.first), ("missing", one.second))
    )
    return one.key, one.kind, first, second


def _with_system(place: Place, name: str, work: Callable[[System, Projection[Any, Any]], Awaitable[T]]) -> T:
    app = app_of(place)
    part = projection_of(app, name)

    async def do() -> T:
        async with app.open(functions=False):
            return await work(app.system, part)

    return asyncio.run(do())
