"""`foldlog run` and `foldlog check`."""

import asyncio
import os
import sys
from types import ModuleType

import click

from foldlog.app import App
from foldlog.cli.output import Output
from foldlog.cli.target import OnTarget, find, json_option, url_option
from foldlog.errors import Misconfigured
from foldlog.model.decider import Decider
from foldlog.model.event import OWN, stored
from foldlog.model.finding import counted
from foldlog.model.handler import Handler
from foldlog.model.process import Process
from foldlog.model.projection import Projection
from foldlog.model.schedule import Schedule
from foldlog.model.schema import Upcast
from foldlog.runtime.logs import log_json
from foldlog.system import Function, Resolved


@click.command("run", cls=OnTarget)
@click.argument("app")
@url_option
@json_option
def run_app(app: str, url: str, machine: bool) -> None:
    """Run the functions and schedules of APP until SIGTERM or Ctrl-C.

    One line on standard output says when everything runs; logs go to standard error, one JSON object a line. A second
    signal ends at once; what was not marked as done is then done again later.

    Examples:
      foldlog run bank.py
      foldlog run shop.main:app --url sqlite:/var/lib/shop.db
    """
    known = find(app, url).known_app()
    output = Output(machine)
    names = [name for part in known.parts if (name := _runs(part))]

    def ready() -> None:
        if machine:
            output.json({"ready": True, "url": known.url, "functions": names, "pid": os.getpid()})
        else:
            output.say(f"ready: {known.url} runs {counted(len(names), 'function')}: {', '.join(names) or 'none'}")
        sys.stdout.flush()

    log_json(sys.stderr)
    asyncio.run(known.serve(ready))


def _runs(part: object) -> str:
    """The name of the function or schedule that a part is; "" for none."""
    match part:
        case Projection():
            return part.table
        case Handler():
            return f"handler.{part.name}"
        case Process():
            return f"process.{part.name}"
        case Schedule():
            return f"schedule.{part.name}"
    return ""


@click.command(cls=OnTarget)
@click.argument("app")
@url_option
@click.option("--strict", is_flag=True, help="Warnings count as faults.")
@json_option
@click.pass_context
def check(context: click.Context, app: str, url: str, strict: bool, machine: bool) -> None:
    """Check the parts of APP without opening its store: every fault at once, exit code 1 if there is one.

    Faults: bad annotations, names that stand twice, upcasts with gaps, an unknown URL, a missing driver. Warnings:
    parts, events and commands in the app's module that its list of parts does not name.

    Examples:
      foldlog check bank.py
      foldlog check shop.main:app --strict --json
    """
    faults: tuple[str, ...] = ()
    warnings: list[str] = []
    try:
        target = find(app, url)
        if target.module is not None:
            warnings = unlisted(target.module, target.known_app())
        target.known_app()
    except Misconfigured as error:
        faults = error.faults
    failed = bool(faults) or (strict and bool(warnings))
    output = Output(machine)
    if machine:
        output.json({"ok": not failed, "faults": faults, "warnings": warnings})
    else:
        for fault in faults:
            output.say(f"fault: {fault}")
        for warning in warnings:
            output.say(f"warning: {warning}")
        found = f"{counted(len(faults), 'fault')}, {counted(len(warnings), 'warning')}"
        output.say(f"{app}: {found}{'' if failed else ': good to run'}")
    if failed:
        context.exit(1)


def unlisted(module: ModuleType, app: App) -> list[str]:
    """What a module holds and none of its apps lists: parts, and classes of events and commands."""
    apps = [app, *(one for one in vars(module).values() if isinstance(one, App))]
    parts = {id(part) for one in apps for part in one.parts}
    types = {named for one in apps for named in _named(one)}
    found: list[str] = []
    for name, value in vars(module).items():
        if isinstance(value, Decider | Projection | Handler | Process | Schedule | Upcast):
            if id(value) not in parts:
                found.append(f"{name} = {value!r} stands in no list of parts")
        elif (mark := stored(value)) is not None and value not in types and not mark.name.startswith(OWN):
            found.append(f"{mark.kind} {mark.name!r} (class {name}) is taken by no listed part")
    return found


def _named(app: App) -> set[type]:
    resolved = Resolved(app.parts)
    decisions = resolved.decisions(resolved.schemas()).values()
    named: set[type] = {one for decision in decisions for one in (*decision.events, *decision.commands)}
    functions: list[Function] = [*resolved.views.values(), *resolved.effects.values()]
    for function in functions:
        named.update(function.takes.types)
    return named
