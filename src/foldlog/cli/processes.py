"""`foldlog processes`: the instances of an app's processes, seen and handled from any process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import click

from foldlog import limits
from foldlog.app import App
from foldlog.cli.histories import (
    comparable,
    count,
    instance_cells,
    instance_json,
    iso,
    last,
    short,
    state_text,
    step_json,
    step_lines,
)
from foldlog.cli.output import Output, note
from foldlog.cli.progress import progress
from foldlog.cli.target import GroupOnTarget, find, json_option, present, tenant_option, url_option
from foldlog.errors import NotFound
from foldlog.flow import deadletter, instances
from foldlog.flow.instances import NEVER, Shown
from foldlog.flow.orchestrate import Orchestration
from foldlog.flow.recur import planned
from foldlog.ports.store import Store

T = TypeVar("T")
Place = tuple[str, str]


class Opened(NamedTuple):
    """An open app, and the process that was asked for."""

    app: App
    process: Orchestration


@click.group("processes", cls=GroupOnTarget)
@click.argument("target", metavar="APP")
@url_option
@click.pass_context
def processes(context: click.Context, target: str, url: str) -> None:
    """List, show, retry, skip and cancel instances of processes and sagas, also while `foldlog run` runs elsewhere.

    An instance is one run of a process, by its key. It waits for an operator when its fold has failed on an event, or a
    command that must be carried out was not: then it has a dead letter, and later events of its key wait behind it.

    Examples:
      foldlog processes bank.py list
      foldlog processes bank.py list transfer --stuck
      foldlog processes bank.py show transfer 17
      foldlog processes bank.py retry transfer 17
    """
    context.obj = target, url


@processes.command("list")
@click.argument("name", required=False)
@click.option("--stuck", is_flag=True, help="Those alone that wait for an operator.")
@click.option("--limit", type=click.IntRange(1, limits.FIND_MAX), default=limits.FIND, show_default=True)
@tenant_option
@json_option
@click.pass_obj
def list_instances(place: Place, name: str | None, stuck: bool, limit: int, tenant: str, machine: bool) -> None:
    """List processes and schedules, or the instances of the process NAME in order of their keys.

    timers: how many are pending; due: the next of them. dead: dead letters, which wait for an operator. Counts end at a
    limit, shown as >10,000. Instances that have ended have no row any more.

    Examples:
      foldlog processes bank.py list
      foldlog processes bank.py list transfer --stuck --json
    """
    output = Output(machine)
    if name is None:
        if stuck:
            raise click.UsageError("--stuck is for the instances of one process: name it")
        _overview(place, output)
        return

    async def look(opened: Opened) -> list[dict[str, Any]]:
        store, process = opened.app.system.store, opened.process
        found = await instances.listed(store, process, tenant, limit, stuck=stuck)
        return [instance_json(one) for one in found]

    rows = _with(place, name, look)
    if machine:
        for row in rows:
            output.json(row)
        return
    columns = ("key", "events", "began", "changed", "timers", "due", "retries", "dead", "state")
    output.table(columns, [instance_cells(row, columns) for row in rows], last_cut=True)
    if len(rows) == limit:
        note(f"{limit} shown; there may be more: --limit")
    elif not rows:
        note(f"{name} has no instance{' that waits for an operator' if stuck else ''}")


def _overview(place: Place, output: Output) -> None:
    async def look(app: App) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        system = app.system
        found = await instances.summaries(system.store, list(system.processes.values()))
        told = [
            {
                "process": one.name,
                "instances": one.instances._asdict(),
                "timers": one.timers._asdict(),
                "due": iso(one.due if one.due != NEVER else 0),
                "dead_letters": one.dead._asdict(),
            }
            for one in found
        ]
        schedules = [(name, await planned(system.store, name)) for name in system.schedules]
        return told, [
            {
                "schedule": name,
                "due": iso(row.next if row else 0),
                "sent": iso(row.sent if row else 0),
                "error": row.error if row else "",
            }
            for name, (row, _) in schedules
        ]

    told, schedules = _open(place, look)
    if output.machine:
        for row in [*told, *schedules]:
            output.json(row)
        return
    if told:
        numbers = ("instances", "timers", "dead_letters")
        rows = [[one["process"], *[count(one[name]) for name in numbers], short(one["due"])] for one in told]
        output.table(("process", "instances", "timers", "dead", "due"), rows)
    if schedules:
        shown = [[one["schedule"], short(one["due"]), short(one["sent"]), last(one["error"])] for one in schedules]
        output.table(("schedule", "due", "sent", "error"), shown)
    if not (told or schedules):
        note("this app lists no processes and no schedules")


def _on_instance(function: Callable[..., None]) -> click.Command:
    """A command on one instance: NAME, KEY, --tenant and --json, in front of its own options."""
    name, key = click.argument("name"), click.argument("key")
    return processes.command()(name(key(tenant_option(json_option(click.pass_obj(function))))))


@_on_instance
def show(place: Place, name: str, key: str, tenant: str, machine: bool) -> None:
    """Show the history of one instance: what came to it, its state afterwards, what it answered, what became of that.

    Nothing of it is kept beside the log: events, timers that rang, answers to commands and cancellations stand there,
    and are folded again by the code as it is now. So the log is read, once; and where the code has changed since, it
    shows what it would do today: a remark says so if that is not what is stored. --json gives one step a line.

    Examples:
      foldlog processes bank.py show transfer 17
      foldlog processes bank.py show transfer 17 --json
    """

    async def look(opened: Opened) -> tuple[Orchestration, Shown]:
        store, seen = opened.app.system.store, 0
        with progress("look", await store.head(), not machine) as advance:

            def told(position: int) -> None:
                nonlocal seen
                advance(position - seen)
                seen = position

            return opened.process, await instances.show(store, opened.process, key, tenant, told)

    process, found = _with(place, name, look)
    output = Output(machine)
    steps = [step_json(taken, found) for taken in found.history]
    if machine:
        for step in steps:
            output.json(step)
        return
    for step in steps:
        output.say(f"{step['time']}  {step['type']}  {step['stream']}@{step['version']}, position {step['position']}")
        for line in step_lines(step):
            output.say(f"    {line}")
    for item in found.open:
        if item.command is None:
            output.say(f"{item.status}: {item.row_key.key}: {last(item.error) or 'it waits behind another'}")
    _closing(process, found, output)


def _closing(process: Orchestration, found: Shown, output: Output) -> None:
    held = found.stored
    if held is None:
        output.say("there is no instance now")
    else:
        timers = ", ".join(f"{name} at {short(iso(one.due))}" for name, one in sorted(held.timers.items()))
        output.say(f"state: {state_text(held)}" + (f"; timers: {timers}" if timers else ""))
    if not found.open and comparable(process, found.folded) != comparable(process, held):
        note("what is stored is not what this code folds from the log: it has changed since, or events were skipped")


@_on_instance
def retry(place: Place, name: str, key: str, tenant: str, machine: bool) -> None:
    """Try again what an instance waits with: the event that its fold failed on, or the command that failed.

    Who runs the process takes it up within a second. Mend the cause first.

    Examples:
      foldlog processes bank.py retry transfer 17
    """
    _request(place, name, key, tenant, _replay, "retried", machine)


@_on_instance
def skip(place: Place, name: str, key: str, tenant: str, machine: bool) -> None:
    """Give up what an instance waits with; what came behind it goes on.

    An event is passed over, as if it had not been for this instance; but not the answer to a command, without which a
    saga would wait for ever: retry it, or cancel the instance. A command is not carried out, and its process, where it
    takes `Rejected`, hears of it under the code foldlog.discarded: a saga takes a skipped undo as done.

    Examples:
      foldlog processes bank.py skip transfer 17
    """
    _request(place, name, key, tenant, instances.skip, "skipped", machine)


@_on_instance
@click.option("--why", default="", metavar="TEXT", help="Kept in the log, and told to the process.")
@click.option("--actor", default="", metavar="NAME", help="Who asks; kept in the log.")
def cancel(place: Place, name: str, key: str, why: str, actor: str, tenant: str, machine: bool) -> None:
    """Cancel an instance: its dead letters are given up, and the event foldlog.cancelled comes to it in its turn.

    A saga then fails where it stands: what it has done is undone. Any other process that takes `Cancelled` answers it
    as it was written to; else the instance ends, and its timers with it. Commands that wait for a retry are not taken
    back.

    Examples:
      foldlog processes bank.py cancel transfer 17 --why "asked for by the customer" --actor ann
    """

    async def do(opened: Opened) -> int:
        system = opened.app.system
        return await instances.cancel(system.store, opened.process, key, tenant, why, actor, system.ids())

    count = _with(place, name, do)
    output = Output(machine)
    if machine:
        output.json({"cancelled": True, "discarded": count})
    else:
        output.say(f"{name} {key} is cancelled" + (f", {count} dead letters given up" if count else ""))


async def _replay(store: Store, process: Orchestration, key: str, tenant: str) -> int:
    return await deadletter.replay(store, process.name, key=key, tenant=tenant)


def _request(
    place: Place, name: str, key: str, tenant: str, work: Callable[..., Awaitable[int]], done: str, machine: bool
) -> None:
    async def do(opened: Opened) -> int:
        count = await work(opened.app.system.store, opened.process, key, tenant)
        if not count:
            raise NotFound(f"{name} {key!r} waits for no operator: `foldlog processes APP list {name} --stuck`")
        return count

    count = _with(place, name, do)
    output = Output(machine)
    if machine:
        output.json({done: count})
    else:
        output.say(f"{count} {done}")


def _with(place: Place, name: str, work: Callable[[Opened], Awaitable[T]]) -> T:
    async def do(app: App) -> T:
        known = app.system.processes
        if name not in known:
            raise NotFound(f"there is no process {name!r}; known: {', '.join(sorted(known)) or 'none'}")
        return await work(Opened(app, known[name]))

    return _open(place, do)


def _open(place: Place, work: Callable[[App], Awaitable[T]]) -> T:
    target = find(*place)
    app = target.known_app()
    present(target.url)

    async def do() -> T:
        async with app.open(functions=False) as opened:
            return await work(opened)

    return asyncio.run(do())
