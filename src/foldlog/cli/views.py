"""`foldlog views`: the read models of an app."""

import asyncio
import json
from typing import Any

import click

from foldlog import limits
from foldlog.app import App
from foldlog.cli.output import Output, note, to_json
from foldlog.cli.past import moment, past_options, watched
from foldlog.cli.target import GroupOnTarget, find, json_option, present, tenant_option, url_option
from foldlog.cli.watching import Listed, print_listed, watch_option
from foldlog.errors import NotFound
from foldlog.flow import inbox, serving
from foldlog.flow.reading import Found
from foldlog.flow.serving import Version
from foldlog.flow.stale import stale
from foldlog.model.finding import counted
from foldlog.model.projection import Projection, table_name
from foldlog.ports.store import Store

Place = tuple[str, str]


@click.group(cls=GroupOnTarget)
@click.argument("app")
@url_option
@click.pass_context
def views(context: click.Context, app: str, url: str) -> None:
    """Look at the read models of APP, its projections and their rows; and change which version of one is read.

    Examples:
      foldlog views bank.py list
      foldlog views bank.py rebuild balances
      foldlog views bank.py get balances 17
      foldlog views bank.py find orders --index placed --low '"2026-01-01"' --limit 20
    """
    context.obj = app, url


@views.command("list")
@watch_option
@json_option
@click.pass_obj
def list_views(place: Place, every: int | None, machine: bool) -> None:
    """List the projections, each with all its versions: which one is read, how far each has come, what is stale.

    A row is parked, and stale from then on, when its fold has failed on an event; the others go on. "changed" says that
    the fold was changed since this version was made, without a new version: rows made before stay as they are.

    Examples:
      foldlog views bank.py list
      foldlog views bank.py list --watch 5
    """
    app = app_of(place)
    columns = ("name", "version", "read", "percent", "behind", "rate", "eta", "parked", "changed", "indexes", "inline")

    async def look(opened: App) -> Listed:
        parts = [part for part in opened.parts if isinstance(part, Projection)]
        found = [line for part in parts for line in await _described(opened.system.store, part)]
        return Listed(found, columns, [[_cell(one[name]) for name in columns] for one in found])

    print_listed(lambda: app.open(functions=False), look, machine, every)


@views.command()
@click.argument("name")
@click.argument("key")
@past_options
@tenant_option
@json_option
@click.pass_obj
def get(place: Place, /, name: str, key: str, machine: bool, at: str | None, **how: Any) -> None:
    """Show one row, as JSON. A row that is not there is exit code 3.

    A remark on standard error says where the row is stale, because its fold failed on an event.

    Examples:
      foldlog views bank.py get balances 17
      foldlog views bank.py get balances 17 --tenant acme --json
      foldlog views bank.py get balances 17 --at 2026-01-31T12:00:00Z
    """
    app = app_of(place)
    part = projection_of(app, name)
    when = moment(at)

    async def fetch() -> tuple[Any, int, bool]:
        async with watched(app, when):
            store = app.system.store
            value = await app.get(part, key, at=when, **how)
            if when is not None:
                return value, 0, False
            read = await app.system.serving.source(app.system.views[part.name])
            behind = 0 if read.inline else (await serving.progress(store, part.name, read.version)).behind
            return value, behind, key in await stale(store, read.table.name, how["tenant"], [key])

    value, behind, is_stale = asyncio.run(fetch())
    if is_stale:
        note(f"stale: the fold of {part.table} failed on an event of {key!r}; see foldlog dead-letters {place[0]} list")
    if value is None:
        late = (
            f"; the view is {counted(behind, 'event')} behind the log: `foldlog run` brings it up to date"
            if behind
            else ""
        )
        raise NotFound(f"view {name!r} {'has' if at is None else 'had'} no row {key!r}{late}")
    Output(machine).json(value)


@views.command("find")
@click.argument("name")
@click.option("--index", metavar="FIELD", help="In order of a declared index; without it in order of the keys.")
@click.option("--low", metavar="VALUE", help="From this on; with --index a JSON value, like 17 or '\"Ann\"'.")
@click.option("--high", metavar="VALUE", help="Up to this, included.")
@click.option("--limit", type=click.IntRange(1, limits.FIND_MAX), default=limits.FIND, show_default=True)
@click.option("--backward", is_flag=True, help="From high to low.")
@past_options
@tenant_option
@json_option
@click.pass_obj
def find_rows(
    place: Place,
    /,
    name: str,
    machine: bool,
    index: str | None,
    low: str | None,
    high: str | None,
    at: str | None,
    **how: Any,
) -> None:
    """Show rows in order of their keys, or of a declared index; with a mark at those that are stale.

    Examples:
      foldlog views bank.py find balances --low 10 --high 20
      foldlog views bank.py find orders --index total --low 1000 --backward --json
      foldlog views bank.py find balances --at 1200
    """
    app = app_of(place)
    part = projection_of(app, name)
    when = moment(at)
    bounds = [_bound(text) if index else text for text in (low, high)]

    async def search() -> list[Found[Any]]:
        async with watched(app, when):
            return await app.find(part, index, *bounds, at=when, **how)

    found = asyncio.run(search())
    output = Output(machine)
    if machine:
        for one in found:
            output.json({"key": one.key, "value": one.value, "stale": one.stale})
        return
    output.table(("key", "", "row"), [(one.key, "stale" if one.stale else "", to_json(one.value)) for one in found])
    if len(found) == how["limit"]:
        note(f"{len(found)} shown; there may be more: --limit, --low or --high")


def app_of(place: Place) -> App:
    """The app; its store must be there."""
    app = find(*place).known_app()
    present(app.url)
    return app


def projection_of(app: App, name: str) -> Projection[Any, Any]:
    """One of its projections, by name. Errors: `NotFound`."""
    known = {part.name: part for part in app.parts if isinstance(part, Projection)}
    if name not in known:
        raise NotFound(f"there is no view {name!r}; known: {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _bound(text: str | None) -> Any:
    """A number or a text in quotes as JSON says it; anything else is a text as it stands."""
    try:
        value = None if text is None else json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | None) else text


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "yes" if value else ""
        case float():
            return f"{value:,.1f}"
        case tuple():
            return ", ".join(value)
    return "" if value is None else value


async def _described(store: Store, part: Projection[Any, Any]) -> list[dict[str, Any]]:
    """One line a version: those that the store knows, and this code's, which it may not know yet."""
    served, _ = await serving.pointer(store, part.name)
    known = {one.version: one for one in await serving.versions(store, part.name)}
    mark = serving.fold_mark(part)
    lines: list[dict[str, Any]] = []
    for version in sorted({*known, part.version}):
        one = known.get(version) or Version(version, part.indexes, part.inline, mark)
        state = await serving.progress(store, part.name, version)
        lines.append(
            {
                "name": part.name,
                "version": version,
                "read": served.current == version if served else version == part.version,
                "built": one.built,
                "percent": state.percent,
                "position": state.position,
                "behind": state.behind,
                "rate": state.rate or None,
                "eta": state.eta if state.eta is None else round(state.eta, 1),
                "parked": await _parked(store, table_name(part.name, version)),
                "changed": version == part.version and serving.is_changed(one.fingerprint, mark),
                "dropping": one.dropping,
                "indexes": one.indexes,
                "inline": one.inline,
            }
        )
    return lines


async def _parked(store: Store, function: str) -> int:
    count, after = 0, None
    while rows := await inbox.marked(store, "dead", function, limits.FIND_MAX, after):
        count, after = count + len(rows), rows[-1]
    return count
