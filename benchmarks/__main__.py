"""`python -m benchmarks`: measure, print the table, write the JSON."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engines import ENGINES, Engine
from benchmarks.measure import Result, Workload, measure
from benchmarks.place import choose, file_system, sync_micros
from benchmarks.postgres import packages
from benchmarks.report import conditions, print_table, write_json

ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    said = parser.parse_args(arguments)
    engine = ENGINES[said.engine]
    try:
        workloads = _workloads(said.only, engine)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    packages.WANTED_AT_ALL = not said.no_npm
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="foldlog-bench-", dir=choose(said.dir)) as name:
        folder = Path(name)
        sync = sync_micros(folder)
        with engine.open(folder) as place:
            for workload in workloads:
                with tempfile.TemporaryDirectory(dir=folder) as own:
                    sizes = engine.quick if said.quick else engine.sizes
                    results += measure(workload, place.bench(Path(own), sizes), said.rounds)
            under = conditions(
                said.engine, said.rounds, quick=said.quick, file_system=file_system(folder), sync_micros=sync
            )
            under |= place.conditions
    print_table(under, results)
    write_json(said.json or engine.results, under, results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = "; ".join(f"{name}: {', '.join(one.name for one in engine.workloads)}" for name, engine in ENGINES.items())
    parser.add_argument("--engine", choices=ENGINES, default="sqlite", help="default: %(default)s")
    parser.add_argument(
        "--rounds", type=_positive, default=ROUNDS, help="rounds of each workload (default: %(default)s)"
    )
    parser.add_argument("--only", metavar="NAME,...", help=f"some workloads only. {names}")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--no-npm", action="store_true", help="leave out the sides that come by npm; fetch nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument(
        "--dir", type=Path, metavar="FOLDER", help="where the databases are made: a folder on a real disk"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return number


def _workloads(text: str | None, engine: Engine) -> tuple[Workload, ...]:
    if text is None:
        return engine.workloads
    known = {one.name: one for one in engine.workloads}
    wanted = text.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise argparse.ArgumentTypeError(f"no workload {unknown[0]!r}; known: {', '.join(known)}")
    return tuple(known[name] for name in wanted)


if __name__ == "__main__":
    main()
