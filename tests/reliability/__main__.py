"""Runs every check in its full form, on each engine that it is for, and prints a table; ends with 1 when one found a
fault."""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.reliability import (
    faults,
    forks,
    functions,
    kills,
    outages,
    overtaking,
    races,
    reallogs,
    rebuilds,
    restarts,
    sagas,
    scale,
    seeds,
    stops,
)
from tests.reliability.processes import Place, Result
from tests.servers import Postgres

Check = Callable[[Place], Result]

SQLITE: dict[str, Check] = {
    "kills": lambda place: kills.kill_writers(place, 200),
    "functions": lambda place: functions.kill_functions(place, 200),
    "stops": lambda place: stops.stop_owners(place, 200),
    "scale": lambda place: scale.scale(place.folder, 6_000),
    "faults": lambda place: faults.failing_calls(place.folder),
    "forks": lambda place: forks.kill_forks(place.folder, 200, 100_000),
    "races": lambda place: races.one_winner(place, 2_000),
    "tailing": lambda place: races.tailing(place, 200_000),
    "rebuild": lambda place: rebuilds.kill_rebuilds(place.folder, 100),
    "rebuild-live": lambda place: rebuilds.measure_rebuild(place.folder, 1_000_000),
    "restart": lambda place: restarts.restart(place.folder, 1_000_000),
    "saga-steps": sagas.kill_steps,
    "sagas": lambda place: sagas.restart_sagas(place, 1_000, 20),
    "timers": lambda place: sagas.kill_timers(place, 10_000, 4),
    "real-logs": lambda place: reallogs.real_logs(place.folder),
    "seeds": lambda place: seeds.simulate(place.folder, 100_000),
}
POSTGRES: dict[str, Check] = {
    "safe-head": lambda place: overtaking.overtake(place, 200_000, 10),
    "kills": lambda place: kills.kill_writers(place, 200),
    "functions": lambda place: functions.kill_functions(place, 100),
    "stops": lambda place: stops.stop_owners(place, 100),
    "races": lambda place: races.one_winner(place, 2_000),
    "server-restarts": lambda place: outages.restart_server(place, 20),
    "tailing": lambda place: races.tailing(place, 200_000),
    "saga-steps": sagas.kill_steps,
    "sagas": lambda place: sagas.restart_sagas(place, 1_000, 20),
    "timers": lambda place: sagas.kill_timers(place, 10_000, 4),
}
ENGINES = {"sqlite": SQLITE, "postgres": POSTGRES}


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _run(engine: str, name: str) -> Result:
    """One check in a folder of its own and, on PostgreSQL, with a server of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foldlog-reliability-")))
        server = stack.enter_context(Postgres()) if engine == "postgres" else None
        place = Place(folder, server)
        began = time.perf_counter()
        result = ENGINES[engine][name](place)
    took = time.perf_counter() - began
    result.name = f"{result.name}, {place.engine}"
    figures = ", ".join(f"{key} {_shown(value)}" for key, value in result.figures.items())
    verdict = "ok" if not result.faults else f"{len(result.faults)} FAULTS"
    print(f"{result.name:50} {verdict:10} {took:6.0f} s   {figures}", flush=True)
    for fault in result.faults[:20]:
        print(f"    {fault}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    names = dict.fromkeys(name for checks in ENGINES.values() for name in checks)
    parser.add_argument("checks", nargs="*", default=list(names), help=f"some of: {', '.join(names)}")
    parser.add_argument("--engine", choices=ENGINES, help="the one engine; otherwise each that a check is for")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.checks) - set(names):
        parser.error(f"unknown checks: {', '.join(sorted(unknown))}")
    logging.getLogger("foldlog").setLevel(logging.ERROR)  # attempts fail on purpose; the table is what is read
    engines = [arguments.engine] if arguments.engine else list(ENGINES)
    results = [_run(one, name) for one in engines for name in arguments.checks if name in ENGINES[one]]
    if not results:
        parser.error(f"not for {arguments.engine}: {', '.join(arguments.checks)}")
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(result) for result in results], indent=1) + "\n")
    return 1 if any(result.faults for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
