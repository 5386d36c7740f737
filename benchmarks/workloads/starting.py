"""Cold start: the import line over a bare interpreter, and a new process up to its first committed command."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.measure import Aim, Bench, Metric, Sample, Side, Workload
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.peer import environment as library
from benchmarks.workloads.reading import ROOT

OURS = "from foldlog import event, command, Decider, projection, handler"
PEER = "from eventsourcing.application import Application; from eventsourcing.domain import Aggregate, event"


def _environment(bench: Bench) -> dict[str, str]:
    """With compiled modules, as after an installation, whatever this machine's settings are; the first run compiles."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(bench.folder / "compiled")}


def _run(code: str, environment: dict[str, str]) -> float:
    """How long an interpreter takes from its start to its end."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment)
    return (time.perf_counter() - begin) * 1e3


def _asyncio(code: str) -> bool:
    """Whether asyncio is loaded after it."""
    asked = f"{code}; import sys; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip() == "True"


@contextmanager
def imports(bench: Bench) -> Iterator[dict[str, Side]]:
    environment = _environment(bench)

    def over_bare(code: str) -> Sample:
        pairs = [(_run("pass", environment), _run(code, environment)) for _ in range(bench.sizes.starts)]
        over = median(one for _, one in pairs) - median(bare for bare, _ in pairs)
        return {"import": over, "asyncio": float(_asyncio(code))}

    yield {"ours": lambda: over_bare(OURS), "peer": lambda: over_bare(PEER)}


@contextmanager
def first_commit(bench: Bench) -> Iterator[dict[str, Side]]:
    paths = {"ours": bench.path("first-ours"), "peer": bench.path("first-peer")}
    with (
        Ours(f"sqlite:{paths['ours']}"),
        Peer(library(paths["peer"])),
    ):  # the databases are there, as after the first deployment
        pass
    environment, turn = _environment(bench), 0

    def starts(side: str, path: Path) -> Sample:
        nonlocal turn
        times = []
        for _ in range(bench.sizes.starts):
            turn += 1
            times.append(_first(side, path, turn, environment))
        return {"first": median(times)}

    yield {side: (lambda side=side, path=path: starts(side, path)) for side, path in paths.items()}  # type: ignore[misc]  # mypy cannot infer a default argument


def _first(side: str, path: Path, turn: int, environment: dict[str, str]) -> float:
    """From the start of a process to its word that a command is committed."""
    begin = time.perf_counter()
    line = [sys.executable, "-m", "benchmarks.first", side, str(path), str(turn)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "committed\n"
        return (time.perf_counter() - begin) * 1e3


IMPORTS = Workload(
    "import",
    (
        Metric("import", "cold start: import over bare Python", " ms", higher=False, aim=Aim(35, "≤ 35 ms", most=True)),
        Metric("asyncio", "… and asyncio loaded (1: yes)", "", higher=False, aim=Aim(0, "0", most=True)),
    ),
    imports,
)
FIRST_COMMIT = Workload(
    "first-commit",
    (
        Metric(
            "first",
            "new process to first committed command",
            " ms",
            higher=False,
            aim=Aim(1.5, "≤ 1.5x the peer's", "peer", most=True),
        ),
    ),
    first_commit,
    "the database is there already",
)
