"""Emmett: the npm packages `@event-driven-io/emmett-postgresql` and what it needs, driven in a process of node."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.postgres.server import Database

SCRIPT = Path(__file__).with_name("emmett.cjs")


class Emmett:
    """An event store in a database of its own. Times are taken inside the process that works."""

    def __init__(self, database: Database, packages: Path) -> None:
        self._node = subprocess.Popen(
            ["node", str(SCRIPT), str(packages), database.url],  # noqa: S607 - whichever node the user has
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._node.poll() is None and kind is None:
                self.ask("close")
        finally:
            self._node.kill()
            self._node.communicate()

    def ask(self, what: str, **told: Any) -> dict[str, Any]:
        """Do something and say what came of it."""
        assert self._node.stdin is not None
        self._node.stdin.write(json.dumps({"what": what, **told}) + "\n")
        self._node.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._node.stdout is not None
        line = self._node.stdout.readline()
        assert line, "Emmett's process has ended; see what it said above"
        answer: dict[str, Any] = json.loads(line)
        return answer
