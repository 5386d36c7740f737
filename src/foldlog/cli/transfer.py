"""`foldlog export` and `foldlog import`: JSON lines of CloudEvents 1.0."""

import asyncio
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import click

from foldlog import limits
from foldlog.cli.importing import Import, Mark, Reject, fingerprint, skip, skip_lines
from foldlog.cli.output import Output, note, to_json
from foldlog.cli.progress import progress
from foldlog.cli.target import OnTarget, Target, find, json_option, opened, url_option
from foldlog.errors import Invalid, Refused, TooLarge
from foldlog.model.cloudevents import to_line
from foldlog.model.finding import counted
from foldlog.model.query import Query
from foldlog.model.stream import check_category, check_text

SKIPPED = 8
_LISTED = 20  # broken lines that are shown one by one; --rejects takes them all


@click.command("export", cls=OnTarget)
@click.argument("target", metavar="URL|APP")
@click.argument("file", metavar="[FILE|-]", default="-")
@click.option("--after", type=click.IntRange(min=0), metavar="POSITION", help="Only what is behind; adds to FILE.")
@click.option("--resume", is_flag=True, help="Go on behind the last event that stands in FILE.")
@url_option
@json_option
def export_log(target: str, file: str, after: int | None, resume: bool, url: str, machine: bool) -> None:
    """Write all events, in order, as JSON lines of CloudEvents 1.0 to FILE, or to standard output.

    The export ends where the log ended when it began. An export that was cut off goes on with --resume. A file that is
    there already is never overwritten.

    Examples:
      foldlog export sqlite:bank.db bank.jsonl
      foldlog export sqlite:bank.db bank.jsonl --resume
      foldlog export sqlite:bank.db | gzip > bank.jsonl.gz
    """
    if resume and (file == "-" or after is not None):
        raise click.UsageError("--resume goes on in a FILE, and finds the position there")
    place = find(target, url)
    with ExitStack() as stack:
        sink: BinaryIO
        if file == "-":
            sink = sys.stdout.buffer
        else:
            sink = stack.enter_context(_sink(Path(file), add=resume or after is not None))
            after = _last_position(sink) if resume else after
        count, last = asyncio.run(_export(place, sink, after or 0, bar=not machine))
        sink.flush()
    if machine and file != "-":
        Output(machine).json({"exported": count, "position": last})
    elif not machine:
        note(f"{counted(count, 'event')} exported, up to position {last}")


async def _export(place: Target, sink: BinaryIO, after: int, *, bar: bool) -> tuple[int, int]:
    count = 0
    async with opened(place) as store:
        head = await store.head()
        with progress("export", max(0, head - after), bar) as advance:
            while after < head:
                page = await store.read(Query(), after, limits.PAGE)
                events = [event for event in page.events if event.position <= head]
                if not events:
                    break
                sink.write(b"".join([to_line(event) for event in events]))
                count += len(events)
                advance(events[-1].position - after)
                after = events[-1].position
    return count, after


def _sink(path: Path, *, add: bool) -> BinaryIO:
    try:
        file = path.open("r+b" if add and path.exists() else "xb")
        file.seek(0, os.SEEK_END)
        return file
    except FileExistsError as error:
        raise Invalid(f"{path} is there already: remove it, or go on in it with --resume or --after") from error


def _last_position(file: BinaryIO) -> int:
    """Cuts off a line that was not finished, and returns the position in the last one that was."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - 2 * limits.LINE_BYTES)
    file.seek(start)
    tail = file.read()
    whole = tail.rpartition(b"\n")
    file.truncate(start + len(whole[0]) + len(whole[1]))
    file.seek(0, os.SEEK_END)
    last = whole[0].rpartition(b"\n")[2]
    if not last:
        return 0
    try:
        return int(json.loads(last)["foldposition"])
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"the last line of {file.name} is none of an export: remove the file, or use --after") from error


@click.command("import", cls=OnTarget)
@click.argument("target", metavar="URL|APP")
@click.argument(
    "file",
    metavar="[FILE|-]",
    default="-",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)
@click.option(
    "--on-error",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="refuse: stop at the first broken line; everything before it stays imported. skip: count it and go on.",
)
@click.option(
    "--rejects", type=click.Path(dir_okay=False), metavar="FILE", help="List broken lines here, as JSON lines."
)
@click.option(
    "--name", default="", metavar="NAME", help="Keep progress under this name, not by name, size and content."
)
@click.option("--from-line", type=click.IntRange(min=1), metavar="N", help="Begin there, whatever was noted before.")
@click.option("--category", default="", metavar="NAME", help="For events whose subject is no stream: NAME-subject.")
@url_option
@json_option
@click.pass_context
def import_log(context: click.Context, /, target: str, file: str, url: str, machine: bool, **how: Any) -> None:
    """Append the events of FILE, JSON lines of CloudEvents 1.0, or of standard input.

    The subject names the stream. Events keep their id, stream, order, time (as the time they occurred), type, data,
    tags and the rest of their envelope. An import that was stopped or killed goes on where it was when it is started
    again; nothing is imported twice. Standard input needs --name for that.

    Examples:
      foldlog import sqlite:copy.db bank.jsonl
      foldlog import sqlite:copy.db bank.jsonl --on-error skip --rejects broken.jsonl
      zcat events.jsonl.gz | foldlog import sqlite:copy.db - --name events --category event
    """
    if how["category"]:
        check_category(how["category"])
    place = find(target, url)
    name = f"name:{check_text('name', how['name'], limits.KEY_BYTES)}" if how["name"] else ""
    with ExitStack() as stack:
        source: BinaryIO = sys.stdin.buffer
        size = None
        if file != "-":
            source = stack.enter_context(Path(file).open("rb"))
            size = Path(file).stat().st_size
            name = name or fingerprint(Path(file))
        listed = how["rejects"] and stack.enter_context(Path(how["rejects"]).open("a+", encoding="utf-8"))
        rejects = _Rejects(listed, file)
        mark, stopped = asyncio.run(_import(place, source, name, how, rejects, size if not machine else -1))
    _report(Output(machine), mark, rejects)
    if stopped is not None:
        raise _refusal(stopped, file)
    if rejects.count:
        context.exit(SKIPPED)


async def _import(
    place: Target, source: BinaryIO, name: str, how: dict[str, Any], rejects: "_Rejects", size: int | None
) -> tuple[Mark, Reject | None]:
    async with opened(place, create=True) as store:
        work = Import(store, name, category=how["category"], skip=how["on_error"] == "skip")
        await _start(work, source, how["from_line"])
        rejects.expect(work.mark.line)
        with progress("import", size, size != -1) as advance:
            advance(work.mark.offset)
            seen = work.mark.offset

            def told(mark: Mark, broken: list[Reject]) -> None:
                nonlocal seen
                rejects.add(broken)
                advance(mark.offset - seen)
                seen = mark.offset

            stopped = await work.run(source, told)
    return work.mark, stopped


async def _start(work: Import, source: BinaryIO, line: int | None) -> None:
    await work.resume()
    if line is not None:
        work.mark = Mark(line, skip_lines(source, line))
        return
    if work.known:
        note(f"going on at line {work.mark.line}: {counted(work.mark.imported, 'line')} imported already")
        skip(source, work.mark.offset)


def _refusal(stopped: Reject, file: str) -> Refused:
    go_on = "" if file == "-" else f"; mend it and go on with --from-line {stopped.number}"
    message = f"line {stopped.number}: {stopped.error.message}{go_on}, or use --on-error skip"
    return (TooLarge if isinstance(stopped.error, TooLarge) else Invalid)(message)


def _report(output: Output, mark: Mark, rejects: "_Rejects") -> None:
    if output.machine:
        broken = [{"line": number, "message": message} for number, message in rejects.shown]
        output.json({"imported": mark.imported, "skipped": mark.skipped, "next_line": mark.line, "broken": broken})
        return
    for number, message in rejects.shown:
        note(f"line {number}: {message}")
    if rejects.count > len(rejects.shown):
        note(f"and {rejects.count - len(rejects.shown):,} more broken lines; --rejects FILE lists them all")
    output.say(f"{counted(mark.imported, 'event')} imported, {counted(mark.skipped, 'line')} skipped")


class _Rejects:
    """Broken lines: the first few to be shown, all of them into a file."""

    def __init__(self, file: TextIO | None, source: str) -> None:
        self.count = 0
        self.shown: list[tuple[int, str]] = []
        self._file, self._source = file, source
        self._listed: set[int] = set()

    def expect(self, line: int) -> None:
        """Learn which lines from here on a killed import has listed already, before their batch was committed."""
        if self._file is None:
            return
        self._file.seek(0)
        for text in self._file:
            try:
                entry = json.loads(text)
                if entry["file"] == self._source and entry["line"] >= line:
                    self._listed.add(entry["line"])
            except (ValueError, KeyError, TypeError):
                continue  # a line of somebody else, or one that was not finished

    def add(self, broken: list[Reject]) -> None:
        """Note the rejects of a batch, before it is committed."""
        self.count += len(broken)
        self.shown += [(one.number, one.error.message) for one in broken[: _LISTED - len(self.shown)]]
        if self._file is None or not broken:
            return
        for number, error in broken:
            if number not in self._listed:
                entry = {"file": self._source, "line": number, "code": error.code, "message": error.message}
                self._file.write(f"{to_json(entry)}\n")
        self._file.flush()
