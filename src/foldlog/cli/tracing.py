"""`foldlog why`."""

import asyncio
import sys
from typing import Any

import click
import msgspec
from rich.tree import Tree

from foldlog.cli.events import as_json
from foldlog.cli.output import Output, cell, note
from foldlog.cli.progress import progress
from foldlog.cli.target import OnTarget, find, json_option, opened, tenant_option, url_option
from foldlog.errors import Invalid
from foldlog.flow.trace import Reaction, Trace, Traced, why
from foldlog.model.event import ANSWERS
from foldlog.model.message import to_datetime

_DEEPEST = 24  # levels that a tree is indented by; what is deeper stands below the last one, with its depth

_WHOLE = 10_000  # columns where nobody looks


@click.command("why", cls=OnTarget)
@click.argument("target", metavar="URL|APP")
@click.argument("event", metavar="STREAM@VERSION")
@tenant_option
@url_option
@json_option
def why_event(target: str, event: str, tenant: str, url: str, machine: bool) -> None:
    """Show what an event came from and what came of it, as a tree: each event below its cause.

    It shows the command and who asked, which function answered an event with which command, how long each step waited,
    and what is still open: retries, dead letters, commands to send. With APP it says of every function what became of
    each event there; with URL only what has left a trace. Attempts of what went right in the end are not kept.

    There is no index of causes, so the log is read, once as a rule: a million events take a second or a few. --json
    gives one event a line, causes before effects.

    Examples:
      foldlog why bank.py account-17@3
      foldlog why sqlite:bank.db account-17@3 --json
    """
    stream, version = _address(event)
    place = find(target, url)

    async def trace() -> Trace:
        async with opened(place) as store:
            functions = place.app.system.functions() if place.app else []
            seen = 0
            with progress("look", await store.head(), not machine) as advance:

                def told(position: int) -> None:
                    nonlocal seen
                    advance(position - seen)
                    seen = position

                return await why(store, stream, version, tenant, functions, told)

    found = asyncio.run(trace())
    output = Output(machine)
    if machine:
        for one in found.events:
            output.json(_json(one, found.asked))
    else:
        # A terminal's lines are folded inside the tree; in a pipe each stays whole, for grep.
        if not sys.stdout.isatty():
            output.console.width = _WHOLE
        output.console.print(_tree(found))
    if found.cut:
        note(f"only the first {len(found.events):,} events of this chain are shown")


def _address(text: str) -> tuple[str, int]:
    stream, at, version = text.rpartition("@")
    if not at or not (version.isascii() and version.isdigit()) or not 1 <= int(version) < 2**63:
        example = "account-17" if at or "-" not in text else ascii(text)[1:-1]
        raise Invalid(
            f"{text!a} names no event: write its stream and version, {example}@1; `foldlog events` shows both"
        )
    return stream, int(version)


def _json(one: Traced, asked: int) -> dict[str, Any]:
    return {
        **as_json(one.event),
        "asked": one.event.position == asked,
        "depth": one.depth,
        "cause": one.cause,
        "waited": one.waited / 1e6,
        "function": one.function,
        "number": one.number,
        "reactions": [
            {**msgspec.to_builtins(reaction), "failed": _iso(reaction.failed), "due": _iso(reaction.due)}
            for reaction in one.reactions
        ],
    }


def _iso(micros: int) -> str | None:
    return to_datetime(micros).isoformat() if micros else None


def _tree(found: Trace) -> Tree:
    count = len(found.events)
    top = Tree(cell("1 event alone" if count == 1 else f"{count:,} events hang together"), guide_style="dim")
    path = [top]
    for one in found.events:
        level = min(one.depth, _DEEPEST)
        del path[level + 1 :]
        text = cell(_told(one))
        if one.event.position == found.asked:
            text.stylize("bold")
            text.append("  <- asked for")
        node = path[level].add(text)
        path.append(node)
        for reaction in one.reactions:
            node.add(cell(_reacted(reaction)), style="dim" if reaction.state == "passed" else "")
    return top


def _told(one: Traced) -> str:
    event = one.event
    meta = event.meta
    text = f"{event.stream}@{event.version} {event.type} at {_short(event.time)}, position {event.position}"
    if one.cause is None:
        asked = f"command {meta.command}" if meta.command else "imported"
        cause = f" that followed from {meta.causation}, which is not in this log" if meta.causation else ""
        text += f": {asked}{cause}" + (f" by {meta.actor}" if meta.actor else "")
    else:
        who = (
            f"{one.function}, {_what(one)} {one.number} of its answer" if one.function else "a function not known here"
        )
        text += f": {who}, {_seconds(one.waited)} later"
    return f"{text} (depth {one.depth})" if one.depth > _DEEPEST else text


def _what(one: Traced) -> str:
    """Whether a command or a timer led to an event."""
    own = one.function == f"process.{one.event.category}"
    return "timer" if own and one.event.type not in ANSWERS else "command"


def _reacted(one: Reaction) -> str:
    what = f"{one.function}: {one.state}"
    if one.command:
        what = f"{one.function}: {one.command} to {one.to}: {one.state}"
    if one.attempts:
        what += f" after {one.attempts} attempts, the last at {_short(one.failed)}"
    if one.due and one.state == "retry":
        what += f", again at {_short(one.due)}"
    if one.letter:
        what += f", letter {one.letter}"
    return f"{what}: {one.error.strip().rpartition(chr(10))[2]}" if one.error else what


def _short(micros: int) -> str:
    return f"{to_datetime(micros).isoformat(timespec='milliseconds')[:-6]}Z"


def _seconds(micros: int) -> str:
    seconds = micros / 1e6
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{seconds * 1e3:,.1f} ms"
