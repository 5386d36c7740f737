"""The parts of the reference that are made from the code: `python -m tests.docs.tables` writes them into the pages.

Each stands between `<!-- name -->` and `<!-- /name -->`; a test fails when what stands there is not what this makes.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from foldlog import errors, limits
from foldlog.cli import program
from foldlog.errors import FoldlogError
from tests.docs import api
from tests.docs.page import ROOT

REFERENCE = ROOT / "docs/reference"


def limit_rows() -> Iterator[tuple[str, object, str]]:
    """(name, value, reason) of each constant of limits.py; a constant without a reason is an error."""
    path = Path(limits.__file__)
    lines = path.read_text("utf-8").splitlines()
    for node in ast.parse("\n".join(lines)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            _, mark, reason = lines[(node.end_lineno or node.lineno) - 1].partition("  # ")
            assert mark, f"limits.{name} has no reason beside it"
            yield name, getattr(limits, name), reason


def limit_table() -> str:
    rows = [f"| `{name}` | {value:,} | {reason} |" for name, value, reason in limit_rows()]
    return "\n".join(["| name | value | reason |", "|---|---:|---|", *rows])


def error_classes(top: type[FoldlogError] = FoldlogError) -> Iterator[type[FoldlogError]]:
    """The tree, depth first, in the order of the file."""
    yield top
    for below in top.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from error_classes(below)


def error_table() -> str:
    rows = []
    for error in error_classes():
        depth = len(error.__mro__) - len(FoldlogError.__mro__)
        meaning = (error.__doc__ or "").strip().split("\n\n")[0].split("\n")[0]
        code = "the decider's own" if error.__name__ == "Rejected" else f"`{error.code}`"
        rows.append(f"| {'· ' * depth}`{error.__name__}` | {code} | {error.status} | {meaning} |")
    return "\n".join(["| class | code | status | meaning |", "|---|---|---:|---|", *rows])


def commands(group: click.Group = program.program, path: str = "foldlog") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def exit_codes() -> dict[int, str]:
    """What `foldlog --help` says of exit codes: two columns, whose texts may go on in the next line."""
    text = (program.program.epilog or "").partition("Exit codes:\n")[2].partition("\n\n")[0]
    found: dict[int, str] = {}
    left = 0
    for line in text.splitlines():
        entries = list(re.finditer(r"(?<!\S)(\d+)  (\S.*?)(?=\s{2,}|$)", line))
        before = line[: entries[0].start()] if entries else line
        if before.strip():
            found[left] += f" {before.strip()}"
        elif entries:
            left = int(entries[0][1])
        found.update({int(entry[1]): entry[2] for entry in entries})
    return dict(sorted(found.items()))


def exit_table() -> str:
    return "\n".join(["| code | meaning |", "|---:|---|", *(f"| {n} | {text} |" for n, text in exit_codes().items())])


def _usage(name: str, command: click.Command) -> str:
    arguments = [one.make_metavar(click.Context(command)) for one in command.params if isinstance(one, click.Argument)]
    program_name, *groups = name.split(" ")
    of_app = [groups[0], "APP", *groups[1:]] if len(groups) > 1 else groups  # `views APP list`
    return " ".join([program_name, *of_app, *arguments])


def _option(option: click.Option, command: click.Command) -> str:
    metavar = "" if option.is_flag else f" {option.make_metavar(click.Context(command))}"
    named = " ".join(f"`{one}{metavar}`" for one in option.opts).replace("INTEGER RANGE", "N")
    return f"| {named} | {option.help or 'At most so many.'} |".replace("refuse|skip", "refuse\\|skip")


def command_texts(*, grouped: bool) -> str:
    """A section a command, of those in groups (`views list`) or the others: usage, what it does, options, examples."""
    sections = []
    for name, command in commands():
        if grouped != (name.count(" ") > 1):
            continue
        text, *examples = re.split(r"\s*Examples?:\s*", (command.help or "").replace("\b", ""))
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        lines = [f"### {name}", "", f"`{_usage(name, command)}`", "", "\n\n".join(paragraphs)]
        options = [one for one in command.params if isinstance(one, click.Option)]
        if options:
            lines += ["", "| option | meaning |", "|---|---|", *(_option(option, command) for option in options)]
        for example in examples:
            lines += ["", "```text", *(line.strip() for line in example.strip().splitlines()), "```"]
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


MADE: dict[str, tuple[str, Callable[[], str]]] = {
    "limits": ("limits.md", limit_table),
    "errors": ("errors.md", error_table),
    "exit-codes": ("cli.md", exit_table),
    "commands": ("cli.md", partial(command_texts, grouped=False)),
    "commands-groups": ("cli-groups.md", partial(command_texts, grouped=True)),
    "api-app": ("api-app.md", api.app_text),
    "api-names": ("api-names.md", api.names_text),
    "api-process": ("api-process.md", api.process_text),
    "api-testing": ("api-testing.md", api.testing_text),
}


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


def standing(name: str) -> str:
    """What a page says now."""
    page = (REFERENCE / MADE[name][0]).read_text("utf-8")
    found = _pattern(name).search(page)
    assert found, f"{MADE[name][0]} has no place for {name}"
    return found[2].removesuffix("\n")


def write() -> None:
    for name, (file, make) in MADE.items():
        page = REFERENCE / file
        before, mark, rest = page.read_text("utf-8").partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        assert mark, f"{file} has no place for {name}"
        assert end, f"{file}: the place for {name} has no end"
        page.write_text(f"{before}{mark}{make()}\n{end}{after}", "utf-8")


if __name__ == "__main__":
    write()
