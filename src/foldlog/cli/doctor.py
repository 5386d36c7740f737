"""`foldlog doctor`."""

import asyncio

import click

from foldlog import connect
from foldlog.cli.advice import advised
from foldlog.cli.coldstart import cold_start
from foldlog.cli.output import Output
from foldlog.cli.progress import progress
from foldlog.cli.target import OnTarget, Target, check_present, find, json_option, opened, url_option
from foldlog.errors import FoldlogError, Unavailable
from foldlog.flow.checkup import Parts, examine
from foldlog.model.clock import SystemClock
from foldlog.model.finding import FAIL, OK, WARN, Finding


@click.command(cls=OnTarget)
@click.argument("target", metavar="URL|APP")
@click.option("--deep", is_flag=True, help="Read every page and event of the store too; takes its time.")
@url_option
@json_option
@click.pass_context
def doctor(context: click.Context, target: str, deep: bool, url: str, machine: bool) -> None:
    """Look at a store, and at an app on it, and say what is wrong and what to do; exit code 1 if something fails.

    It looks at SQLite's settings, who may open the files, disk space, the time of an fsync, the length of the WAL,
    holes in the positions, leases of processes that died, functions that nobody runs or that a process has given
    up, dead letters and backlog. With APP also at kinds of events that no part knows, oldest and newest events that
    do not decode, tables of views that no projection has any more, the time that each fold takes, and a cold start
    in a fresh interpreter with its heaviest imports. --deep reads everything: checksums, indexes, order of time,
    versions.

    Nothing in the store is changed and no handler is called; it may be in use. ok: as it should be; warn: look at it
    soon; fail: what Foldlog promises does not hold now.

    Examples:
      foldlog doctor bank.py
      foldlog doctor sqlite:bank.db --deep
      foldlog doctor bank.py --json | jq '.findings[] | select(.state != "ok")'
    """
    place = find(target, url)
    with progress("look", None, not machine):
        findings = asyncio.run(_look(place, deep=deep))
        findings.append(cold_start(target, is_url=place.app is None))
    failed = any(one.state == FAIL for one in findings)
    output = Output(machine)
    if machine:
        output.json({"ok": not failed, "findings": findings})
    else:
        for one in findings:
            output.say(f"{one.state:4}  {one.check}: {one.what}")
            if one.next:
                output.say(f"      next: {one.next}")
        counts = [f"{sum(one.state == state for one in findings)} {state}" for state in (OK, WARN, FAIL)]
        output.say(", ".join(counts))
    if failed:
        context.exit(1)


async def _look(place: Target, *, deep: bool) -> list[Finding]:
    try:
        await check_present(place.url)
    except Unavailable as error:
        return [_broken("opening", error)]
    try:
        async with opened(place) as store:
            below = await connect.examine(place.url, deep=deep)
            system = place.app.system if place.app else None
            parts = Parts(system.functions(), system.decisions, system.schemas) if system else None
            try:
                return [*below.findings, *await examine(store, SystemClock().now(), parts, below)]
            except FoldlogError as error:
                return [*below.findings, _broken("rows and events", error)]
    except FoldlogError as error:
        return [_broken("opening", error)]


def _broken(check: str, error: FoldlogError) -> Finding:
    return Finding(check, FAIL, f"{error.code}: {error.message}", advised(error)[1])
