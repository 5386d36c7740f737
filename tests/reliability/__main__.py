"""Runs every check in its full form and prints a table; ends with 1 when one of them found a fault."""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability import (
    faults,
    forks,
    functions,
    kills,
    races,
    reallogs,
    rebuilds,
    restarts,
    sagas,
    scale,
    seeds,
    stops,
)
from tests.reliability.processes import Result

CHECKS: dict[str, Callable[[Path], Result]] = {
    "kills": lambda folder: kills.kill_writers(folder, 200),
    "functions": lambda folder: functions.kill_functions(folder, 200),
    "stops": lambda folder: stops.stop_owners(folder, 200),
    "scale": lambda folder: scale.scale(folder, 6_000),
    "faults": faults.failing_calls,
    "forks": lambda folder: forks.kill_forks(folder, 200, 100_000),
    "races": lambda folder: races.one_winner(folder, 2_000),
    "tailing": lambda folder: races.tailing(folder, 200_000),
    "rebuild": lambda folder: rebuilds.kill_rebuilds(folder, 100),
    "rebuild-live": lambda folder: rebuilds.measure_rebuild(folder, 1_000_000),
    "restart": lambda folder: restarts.restart(folder, 1_000_000),
    "saga-steps": sagas.kill_steps,
    "sagas": lambda folder: sagas.restart_sagas(folder, 1_000, 20),
    "timers": lambda folder: sagas.kill_timers(folder, 10_000, 4),
    "real-logs": reallogs.real_logs,
    "seeds": lambda folder: seeds.simulate(folder, 100_000),
}


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("checks", nargs="*", default=list(CHECKS), help=f"some of: {', '.join(CHECKS)}")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.checks) - set(CHECKS):
        parser.error(f"unknown checks: {', '.join(sorted(unknown))}")
    logging.getLogger("foldlog").setLevel(logging.ERROR)  # attempts fail on purpose; the table is what is read
    results = []
    for name in arguments.checks:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="foldlog-reliability-") as folder:
            result = CHECKS[name](Path(folder))
        results.append(result)
        figures = ", ".join(f"{key} {_shown(value)}" for key, value in result.figures.items())
        verdict = "ok" if not result.faults else f"{len(result.faults)} FAULTS"
        print(f"{result.name:38} {verdict:10} {time.perf_counter() - began:6.0f} s   {figures}", flush=True)
        for fault in result.faults[:20]:
            print(f"    {fault}")
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(result) for result in results], indent=1) + "\n")
    return 1 if any(result.faults for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
