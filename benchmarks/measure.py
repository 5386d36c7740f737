"""What a workload is, and how one is measured: sides in turn, round by round, compared within each round."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.postgres.server import Server

Sample = dict[str, float]
"""What one side did in one round: metric -> figure."""

Side = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Aim:
    """What Foldlog's figure, or its ratio to the one of `against` ("peer", "raw"), shall be: at least, or at `most`."""

    bound: float
    text: str
    against: str = ""
    most: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table. `unit` ends the figures; `higher` says which of two figures is the better one."""

    name: str
    title: str
    unit: str = "/s"
    higher: bool = True
    aim: Aim | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each workload does in one round. The peer does less where it is far slower: its rate is steady."""

    single: int = 1_000
    ours_concurrent: int = 32_000
    peer_concurrent: int = 1_920
    hundreds: int = 200
    rehydrated: int = 40
    rehydrated_peer: int = 8
    stream_events: int = 1_000
    log_events: int = 1_000_000
    projected: int = 100_000
    projected_peer: int = 12_000
    latencies: int = 400
    starts: int = 5
    growth_from: int = 10_000
    growth_slice: int = 40_000
    growth_to: int = 1_000_000
    log_events_peer: int = 40_000
    projected_node: int = 12_000
    latencies_node: int = 4
    shared: int = 60_000
    sagas: int = 1_000


QUICK = Sizes(
    single=100,
    ours_concurrent=2_560,
    peer_concurrent=192,
    hundreds=10,
    rehydrated=5,
    rehydrated_peer=2,
    stream_events=1_000,
    log_events=100_000,
    projected=10_000,
    projected_peer=1_000,
    latencies=50,
    starts=2,
    growth_from=2_000,
    growth_slice=5_000,
    growth_to=50_000,
    log_events_peer=2_000,
    projected_node=1_000,
    latencies_node=2,
    shared=5_000,
    sagas=50,
)
# Of PostgreSQL: its events cost several times what SQLite's do.
ON_SERVER = Sizes(ours_concurrent=16_000, hundreds=100, log_events=200_000, projected_peer=4_000, latencies=200)
QUICK_ON_SERVER = replace(QUICK, log_events=10_000, projected=5_000, projected_peer=500)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the databases live, and the sizes."""

    folder: Path
    sizes: Sizes
    server: Server | None = None

    def path(self, name: str) -> Path:
        """A database's place."""
        return self.folder / f"{name}.db"

    def url(self, name: str) -> str:
        """A store for Foldlog."""
        return f"sqlite:{self.path(name)}" if self.server is None else self.server.url(name)


@dataclass(frozen=True, slots=True)
class Workload:
    """A row, or several, of the table. `sides` prepares its databases and yields what is measured, by name; several
    names that start with "peer" are ways to use the peer, of which the best one counts. `warm` runs every side once
    before the first round."""

    name: str
    metrics: tuple[Metric, ...]
    sides: Callable[[Bench], AbstractContextManager[dict[str, Side]]]
    note: str = ""
    warm: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one metric: the figures of each side, round by round."""

    workload: Workload
    metric: Metric
    figures: dict[str, list[float]] = field(default_factory=dict)

    def best(self, kind: str) -> str | None:
        """Of the sides of one kind the one with the best median."""
        names = [name for name in self.figures if name.split()[0] == kind]
        return (max if self.metric.higher else min)(names, key=lambda name: median(self.figures[name]), default=None)

    def ratios(self, kind: str) -> list[float]:
        """Foldlog's figure over the other side's, for each round."""
        other = self.best(kind)
        if other is None or "ours" not in self.figures:
            return []
        return [mine / theirs for mine, theirs in zip(self.figures["ours"], self.figures[other], strict=True) if theirs]

    def verdict(self) -> tuple[float, bool] | None:
        """The figure that the aim is about, and whether it is reached; None without aim or figure."""
        aim = self.metric.aim
        found = None if aim is None else self.ratios(aim.against) if aim.against else self.figures.get("ours")
        if aim is None or not found:
            return None
        figure = median(found)
        return figure, figure <= aim.bound if aim.most else figure >= aim.bound


def measure(workload: Workload, bench: Bench, rounds: int) -> Iterator[Result]:
    """Run one workload. The order of the sides changes from round to round, so that none always comes first."""
    samples: dict[str, list[Sample]] = {}
    with workload.sides(bench) as sides:
        if workload.warm:
            for side in sides.values():
                side()
        names = list(sides)
        for number in range(rounds):
            print(f"{workload.name}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                samples.setdefault(name, []).append(sides[name]())
    for metric in workload.metrics:
        figures = {
            name: [sample[metric.name] for sample in samples[name]] for name in names if metric.name in samples[name][0]
        }
        yield Result(workload, metric, figures)
