"""Where a check has its stores, starting children, and what a check answers."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import Postgres

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Place:
    """A folder for what a check leaves outside, with its SQLite files; its stores on a server, where there is one."""

    folder: Path
    server: Postgres | None = None

    @property
    def engine(self) -> str:
        return "PostgreSQL" if self.server else "SQLite"

    def url(self, name: str) -> str:
        """The store of this name; no other check has it."""
        if self.server is None:
            return f"sqlite:{self.folder}/{name}.db"
        return self.server.url_in(self.folder, name)


@dataclass
class Result:
    """A check's figures; `faults` is what must be empty."""

    name: str
    figures: Mapping[str, object]
    faults: list[str] = field(default_factory=list)


def start(role: str, *arguments: object, program: str = "child", before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A child in its role of one of this folder's programs; `before` is a program that runs it (strace)."""
    command = [*before, sys.executable, "-m", f"tests.reliability.{program}", role, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def lines(child: subprocess.Popen[str]) -> list[str]:
    """Everything it still says until it ends; then its pipes are closed."""
    if child.stdout is None:
        raise AssertionError("children have a pipe")
    said = child.stdout.read().splitlines()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    return said


def expect(child: subprocess.Popen[str], line: str) -> None:
    """Wait until it says so."""
    if child.stdout is None:
        raise AssertionError("children have a pipe")
    said = child.stdout.readline().strip()
    if said != line:
        raise AssertionError(f"expected {line!r}, heard {said!r}; it ended with {child.poll()}")
