"""`python -m benchmarks`: measure, print the table, write the JSON."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import QUICK, Bench, Result, Sizes, Workload, measure
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.place import choose, file_system, sync_micros
from benchmarks.raw import Raw
from benchmarks.report import conditions, print_table, write_json
from benchmarks.workloads import ALL
from foldlog.engines.sqlite.files import connect

RESULTS = Path(__file__).with_name("results.json")
ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    said = _parser().parse_args(arguments)
    place = choose(said.dir)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="foldlog-bench-", dir=place) as name:
        folder = Path(name)
        durability = settings(folder)
        sync = sync_micros(folder)
        for workload in said.only:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                results += measure(workload, Bench(Path(own), QUICK if said.quick else Sizes()), said.rounds)
        under = conditions(
            said.rounds, quick=said.quick, file_system=file_system(folder), sync_micros=sync, durability=durability
        )
    print_table(under, results)
    write_json(said.json, under, results)


def settings(folder: Path) -> dict[str, str]:
    """How each side makes a commit durable, as its own connection answers."""
    with Ours(folder / "ours.db"):
        ours = connect(str(folder / "ours.db"))
        asked = ours.execute("PRAGMA journal_mode").get, ours.execute("PRAGMA synchronous").get
        ours.close()
    with Peer(folder / "peer.db") as peer:
        peers = peer.pragma("journal_mode"), peer.pragma("synchronous")
    with Raw(folder / "raw.db") as raw:
        raws = raw.run("PRAGMA journal_mode"), raw.run("PRAGMA synchronous")
    found = {"ours": asked, "peer": peers, "raw": raws}
    assert all(one == ("wal", 2) for one in found.values()), found
    return {side: f"journal_mode={mode}, synchronous={level} (FULL)" for side, (mode, level) in found.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join(one.name for one in ALL)
    parser.add_argument(
        "--rounds", type=_positive, default=ROUNDS, help="rounds of each workload (default: %(default)s)"
    )
    parser.add_argument("--only", type=_workloads, default=ALL, metavar="NAME,...", help=f"some of: {names}")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the figures go")
    parser.add_argument(
        "--dir", type=Path, metavar="FOLDER", help="where the databases are made: a folder on a real disk"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return number


def _workloads(text: str) -> tuple[Workload, ...]:
    known = {one.name: one for one in ALL}
    wanted = text.split(",")
    if unknown := [name for name in wanted if name not in known]:
        raise argparse.ArgumentTypeError(f"no workload {unknown[0]!r}; known: {', '.join(known)}")
    return tuple(known[name] for name in wanted)


if __name__ == "__main__":
    main()
