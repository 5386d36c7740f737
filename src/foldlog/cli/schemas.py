"""`foldlog schema`: the shapes of events and commands, kept in a lock file and held against the code."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from foldlog import limits
from foldlog.cli.output import Output
from foldlog.cli.target import GroupOnTarget, find, json_option
from foldlog.errors import Invalid, NotFound
from foldlog.model.changes import BACKWARD, GONE, REQUIRED, UNCHANGED, UPCAST, Change, compare, relocked
from foldlog.model.finding import counted
from foldlog.model.history import FILE, History, read_history, write_history
from foldlog.model.schema import Schemas
from foldlog.system import Resolved

_MEANING = {
    "full": "old and new code read what either writes",
    "backward": "new code reads what is stored; old code does not read all that new code writes",
    "forward": "old code reads what new code writes; new code does not read all that is stored",
    "none": "neither reads all that the other writes",
}


@click.group("schema", cls=GroupOnTarget)
@click.argument("app")
@click.pass_context
def schema(context: click.Context, app: str) -> None:
    """Keep the shape of every event and command of APP that was ever shipped, and check the code against it.

    The lock file stands beside the app and is committed with it: `lock` writes it, `check` is for CI, `diff` shows
    what a change does to what is stored. Two apps in one folder need two files: --file.

    Examples:
      foldlog schema bank.py lock
      foldlog schema bank.py check
      foldlog schema bank.py diff
    """
    context.obj = app


_file_option = click.option("--file", metavar="FILE", help=f"The lock file; {FILE} beside the app if not given.")
_require_option = click.option(
    "--require",
    type=click.Choice(REQUIRED),
    default=BACKWARD,
    show_default=True,
    help="backward: new code reads what is stored. forward: the code that ran before reads what new code writes. "
    "full: both.",
)


@schema.command()
@_file_option
@_require_option
@click.option("--accept", metavar="NAME", multiple=True, help="Take what breaks under this stored name; repeatable.")
@json_option
@click.pass_context
def lock(context: click.Context, file: str | None, require: str, accept: tuple[str, ...], machine: bool) -> None:
    """Write the code's shapes into the lock file, beside all that are there already.

    A change that breaks what --require asks for is refused: exit code 1, and the file is left alone. --accept takes
    it all the same; shapes that the code cannot read are then marked as given up, so say it only where none of
    them is stored anywhere.

    Examples:
      foldlog schema bank.py lock
      foldlog schema bank.py lock --accept account.opened
    """
    path, schemas = _place(context.obj, file)
    before = _read(path) if path.exists() else History({})
    after, refused = relocked(before, schemas, require, accept)
    output = Output(machine)
    written = not refused and (after != before or not path.exists())
    if written:
        _write(path, write_history(after))
    news = [one for one in compare(before, schemas) if not one.locked or one.breaks(require)]
    told = refused or [one._replace(locked=True) for one in news]
    if machine:
        shown = [_as_json(one, require) for one in told]
        output.json({"ok": not refused, "file": str(path), "written": written, "require": require, "changes": shown})
    else:
        _tell(output, told, require)
        shapes = sum(map(len, after.kept.values()))
        held = f"{counted(shapes, 'shape')} of {counted(len(after.kept), 'version')}"
        output.say(
            f"{path}: not written, {counted(len(refused), 'break')}: mend it, or see --accept"
            if refused
            else f"{path}: {'written' if written else 'up to date'}, {held}"
        )
    if refused:
        context.exit(1)


@schema.command()
@_file_option
@_require_option
@json_option
@click.pass_context
def check(context: click.Context, file: str | None, require: str, machine: bool) -> None:
    """Check the code against the lock file: exit code 1 where a change breaks what --require asks for, or is not
    locked yet.

    Each version is unchanged, or fully, backward or forward compatible, or none of it; each finding says where, why
    and how to mend it. Upcasts are taken at their word here: fold_history of foldlog.testing tries them.

    Examples:
      foldlog schema bank.py check
      foldlog schema bank.py check --require full --json
    """
    path, schemas = _place(context.obj, file)
    changes = compare(_read(path), schemas)
    broken = [one for one in changes if one.breaks(require)]
    unlocked = [one for one in changes if not one.locked]
    output = Output(machine)
    if machine:
        shown = [_as_json(one, require) for one in changes]
        output.json({"ok": not broken and not unlocked, "file": str(path), "require": require, "changes": shown})
    else:
        _tell(output, [one for one in changes if one.findings or not one.locked], require)
        said = f"{counted(len(changes), 'version')}, {counted(len(broken), 'break')}, {len(unlocked)} not locked"
        only_lock = ": run `foldlog schema APP lock` and commit the file" if unlocked and not broken else ""
        output.say(f"{path}: {said}{only_lock}")
    if broken or unlocked:
        context.exit(1)


@schema.command()
@_file_option
@json_option
@click.pass_obj
def diff(app: str, file: str | None, machine: bool) -> None:
    """Show what the code changes since the lock file was written, field by field.

    Examples:
      foldlog schema bank.py diff
      foldlog schema bank.py diff --json
    """
    path, schemas = _place(app, file)
    changes = [one for one in compare(_read(path), schemas) if one.status not in (UNCHANGED, UPCAST)]
    output = Output(machine)
    if machine:
        output.json({"file": str(path), "changes": [_as_json(one, BACKWARD) for one in changes]})
        return
    rows = [
        (one.key.kind, one.key.name, one.key.version, one.status, step.path, step.before, step.after)
        for one in changes
        for step in one.steps or (None,)
        if step is not None
    ]
    if rows:
        output.table(("kind", "name", "version", "", "field", "locked", "code"), rows)
    output.say(f"{path}: {counted(len(changes), 'version')} changed" if changes else f"{path}: nothing differs")


def _place(app: str, file: str | None) -> tuple[Path, Schemas]:
    target = find(app)
    known = target.known_app()
    module = getattr(target.module, "__file__", None)
    path = Path(file) if file else (Path(module).parent if module else Path()) / FILE
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path, Resolved(known.parts).schemas()


def _read(path: Path) -> History:
    if not path.is_file():
        raise NotFound(f"there is no lock file {path}: `foldlog schema APP lock` writes the first one")
    with path.open("rb") as file:
        content = file.read(limits.LOCK_BYTES + 1)
    try:
        return read_history(content)
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}") from error


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing: whoever reads meanwhile sees the file as it was."""
    path = path.resolve()  # a link stays one
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _tell(output: Output, changes: Iterable[Change], require: str) -> None:
    for one in changes:
        state = "" if one.locked else ", not locked"
        known = f": {one.verdict} ({_MEANING[one.verdict]})" if one.status != GONE else ": cannot be read any more"
        output.say(f"{one.key}: {one.status}{state}{known if one.findings else ''}")
        against = one.breaks(require)
        for finding in one.findings:
            output.say(f"  {'breaks' if finding in against else 'note'} {finding.breaks}: {finding.path} {finding.why}")
            output.say(f"    mend: {finding.mend}")


def _as_json(one: Change, require: str) -> dict[str, Any]:
    return {
        "kind": one.key.kind,
        "name": one.key.name,
        "version": one.key.version,
        "status": one.status,
        "locked": one.locked,
        "verdict": one.verdict,
        "ok": not one.breaks(require),
        "findings": [finding._asdict() for finding in one.findings],
        "fields": [step._asdict() for step in one.steps],
    }
