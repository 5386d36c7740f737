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
from foldlog.errors import NotFound
from foldlog.flow import inbox
from foldlog.flow.lease import checkpoint
from foldlog.flow.reading import Found
from foldlog.flow.stale import stale
from foldlog.model.projection import Projection
from foldlog.ports.store import Store


@click.group(cls=GroupOnTarget)
@click.argument("app")
@url_option
@click.pass_context
def views(context: click.Context, app: str, url: str) -> None:
    """Look at the read models of APP: its projections and their rows.

    Examples:
      foldlog views bank.py list
      foldlog views bank.py get balances 17
      foldlog views bank.py find orders --index placed --low '"2026-01-01"' --limit 20
    """
    context.obj = app, url


@views.command("list")
@json_option
@click.pass_obj
def list_views(place: tuple[str, str], machine: bool) -> None:
    """List the projections: version, how far each is behind the log, and how many of its rows are parked.

    A row is parked, and stale from then on, when its fold has failed on an event; the others go on.

    Example:
      foldlog views bank.py list
    """
    app = _app(place)

    async def collect() -> list[dict[str, Any]]:
        async with app.open(functions=False):
            store = app.system.store
            head = await store.head()
            return [await _described(store, one, head) for one in app.parts if isinstance(one, Projection)]

    found = asyncio.run(collect())
    output = Output(machine)
    if machine:
        for one in found:
            output.json(one)
        return
    columns = ("name", "version", "position", "behind", "parked", "indexes", "inline")
    output.table(
        columns, [[", ".join(one[name]) if name == "indexes" else one[name] for name in columns] for one in found]
    )


@views.command()
@click.argument("name")
@click.argument("key")
@past_options
@tenant_option
@json_option
@click.pass_obj
def get(place: tuple[str, str], /, name: str, key: str, machine: bool, at: str | None, **how: Any) -> None:
    """Show one row, as JSON. A row that is not there is exit code 3.

    A remark on standard error says where the row is stale, because its fold failed on an event.

    Examples:
      foldlog views bank.py get balances 17
      foldlog views bank.py get balances 17 --tenant acme --json
      foldlog views bank.py get balances 17 --at 2026-01-31T12:00:00Z
    """
    app = _app(place)
    part = _projection(app, name)
    when = moment(at)

    async def fetch() -> tuple[Any, int, bool]:
        async with watched(app, when):
            store = app.system.store
            value = await app.get(part, key, at=when, **how)
            if when is not None:
                return value, 0, False
            behind = 0 if part.inline else (await _described(store, part, await store.head()))["behind"]
            return value, behind, key in await stale(store, part.table, how["tenant"], [key])

    value, behind, is_stale = asyncio.run(fetch())
    if is_stale:
        note(f"stale: the fold of {part.table} failed on an event of {key!r}; see foldlog dead-letters {place[0]} list")
    if value is None:
        late = f"; the view is {behind:,} events behind the log: `foldlog run` brings it up to date" if behind else ""
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
    place: tuple[str, str],
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
    app = _app(place)
    part = _projection(app, name)
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


def _app(place: tuple[str, str]) -> App:
    app = find(*place).known_app()
    present(app.url)
    return app


def _projection(app: App, name: str) -> Projection[Any, Any]:
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


async def _described(store: Store, part: Projection[Any, Any], head: int) -> dict[str, Any]:
    held = await checkpoint(store, part.table)
    position = held.position if held else 0
    return {
        "name": part.name,
        "version": part.version,
        "position": position,
        "behind": max(0, head - position),
        "parked": await _parked(store, part.table),
        "indexes": part.indexes,
        "inline": part.inline,
    }


async def _parked(store: Store, function: str) -> int:
    count, after = 0, None
    while rows := await inbox.marked(store, "dead", function, limits.FIND_MAX, after):
        count, after = count + len(rows), rows[-1]
    return count
