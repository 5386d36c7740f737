"""Runs one page: `python tests/docs/page.py docs/how-to/x.md`, in an empty directory.

All blocks of a page run from top to bottom in one namespace and one event loop, so that `await` may stand alone.

    ```python                   runs
    ```python title="bank.py"   is written to that file, and its names are imported
    ```sql title="grants.sql"   is written to that file
    ```text                     right behind a block that ran: what that block printed; `...` stands for any text
    ```console                  lines that start with `$ ` run, one after the other; the other lines are their output

A block whose first line is `# not run: <reason>` is shown only. Of commands, only those of `_RUN` run; those of
`_CHECKED` are looked up; any other is an error.
"""

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
LANGUAGES = {"python", "console", "text", "json", "sql", "toml", "yaml"}
_FENCE = re.compile(r"^```(\w*)(.*)$")
_RUN = {"foldlog", "python", "cat", "wc", "head"}
_CHECKED = {"make", "pip", "cd", "git"}


class Block(NamedTuple):
    """A fenced block: its language, what else stands on the fence, its text, and the line its text starts at."""

    language: str
    title: str
    text: str
    line: int

    @property
    def shown_only(self) -> bool:
        return self.text.startswith("# not run:")


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page; a fence that is indented or never closed is an error."""
    opened: tuple[str, str, int] | None = None
    text: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if opened is None:
            if line.lstrip().startswith("```"):
                fence = _FENCE.match(line)
                assert fence, f"{page}:{number}: write the fence at the start of its line"
                title = re.search(r'title="([^"]+)"', fence[2])
                opened, text = (fence[1], title[1] if title else "", number + 1), []
        elif line == "```":
            yield Block(opened[0], opened[1], "\n".join(text), opened[2])
            opened = None
        else:
            text.append(line)
    assert opened is None, f"{page}: a block is never closed"


def matches(said: str, printed: str) -> bool:
    """Whether `printed` is what the page says, where `...` stands for any text."""
    pattern = ".*?".join(re.escape(part) for part in said.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


class Page:
    """A page on its way from top to bottom."""

    def __init__(self, path: Path, runner: asyncio.Runner) -> None:
        self._path, self._runner = path, runner
        self._module = types.ModuleType("page")
        sys.modules["page"] = self._module
        self._printed: str | None = None

    def run(self) -> None:
        for block in blocks(self._path):
            try:
                self._one(block)
            except BaseException as error:
                error.add_note(f"at {self._path}:{block.line}")
                raise

    def _one(self, block: Block) -> None:
        assert block.language in LANGUAGES, f"a block of language {block.language!r}: use one of {sorted(LANGUAGES)}"
        if block.shown_only:
            self._printed = None
        elif block.title:
            self._printed = self._written(block)
        elif block.language == "python":
            self._printed = self._executed(block)
        elif block.language == "console":
            self._printed = None
            self._commands(block)
        elif block.language == "text":
            if self._printed is not None:
                assert matches(block.text, self._printed), f"printed:\n{self._printed}\nthe page says:\n{block.text}"
            self._printed = None

    def _executed(self, block: Block) -> str:
        tree = ast.parse(block.text, str(self._path))
        ast.increment_lineno(tree, block.line - 1)
        code = compile(tree, str(self._path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if code.co_flags & inspect.CO_COROUTINE:
                self._runner.run(self._awaited(code))
            else:
                exec(code, vars(self._module))  # noqa: S102  # runs what our own pages show
        return printed.getvalue()

    async def _awaited(self, code: types.CodeType) -> None:
        await eval(code, vars(self._module))  # noqa: S307  # as above

    def _written(self, block: Block) -> str:
        file = Path(block.title)
        file.write_text(block.text + "\n", "utf-8")
        if file.suffix != ".py":
            return ""
        sys.modules.pop(file.stem, None)
        importlib.invalidate_caches()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            module = importlib.import_module(file.stem)
        vars(self._module).update({name: value for name, value in vars(module).items() if not name.startswith("__")})
        return printed.getvalue()

    def _commands(self, block: Block) -> None:
        said: list[tuple[str, list[str]]] = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                said.append((line[2:], []))
            elif said and said[-1][0].endswith("\\"):
                said[-1] = (said[-1][0][:-1] + line.strip(), [])
            elif said:
                said[-1][1].append(line)
        assert said, "a console block shows a command behind `$ `"
        for command, output in said:
            self._command(command, "\n".join(output))

    def _command(self, command: str, said: str) -> None:
        command, _, comment = command.partition("  #")
        code = re.search(r"exit (\d+)", comment)
        words = shlex.split(command)
        if words[0] in _CHECKED:
            check_command(words)
            return
        assert words[0] in _RUN, f"{words[0]!r} is not on the list of commands that pages may run"
        here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(  # noqa: S602  # our own pages show redirections
            command,
            shell=True,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": here, "COLUMNS": "110", "NO_COLOR": "1"},
            check=False,
        )
        wanted = int(code[1]) if code else 0
        assert done.returncode == wanted, f"$ {command}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        if said.strip():
            both = done.stdout + done.stderr
            assert matches(said, both), f"$ {command}\nprinted:\n{both}\nthe page says:\n{said}"


def check_command(words: list[str]) -> None:
    """A command that pages show and nobody runs here: its target or extra must exist."""
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert words[1] in targets, f"the Makefile has no target {words[1]!r}"
    if words[:2] == ["pip", "install"]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        for name, extras in re.findall(r"(foldlog)(?:\[([a-z,]+)\])?", " ".join(words)):
            known = {*project["optional-dependencies"]}
            assert name == project["name"]
            assert {*filter(None, extras.split(","))} <= known


def main(arguments: list[str]) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    sys.dont_write_bytecode = True
    with asyncio.Runner() as runner:
        Page(Path(arguments[0]), runner).run()


if __name__ == "__main__":
    main(sys.argv[1:])
