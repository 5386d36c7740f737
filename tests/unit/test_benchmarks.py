"""The benchmarks run and write what they found; how fast anything is, no test says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import Aim, Metric, Result, Workload
from benchmarks.place import choose, file_system

ROOT = Path(__file__).parents[2]
FAST = ("one-writer", "hundreds", "rehydrate", "latency")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def result(aim, **figures):
    metric = Metric("rate", "a rate", higher=not aim.most, aim=aim)
    return Result(Workload("w", (metric,), lambda _: None), metric, figures)


def test_a_quick_run_prints_a_table_and_writes_every_side_of_every_workload(tmp_path):
    done = run("--quick", "--rounds", "1", "--only", ",".join(FAST), "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    assert "one writer, one event a commit" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["rounds"] == 1
    assert found["quick"] is True
    assert found["sync_micros"] > 0
    assert set(found["durability"].values()) == {"journal_mode=wal, synchronous=2 (FULL)"}
    assert [one["workload"] for one in found["results"]] == [*FAST, "latency"]  # two metrics
    for one in found["results"]:
        assert one["sides"]["ours"]["median"] > 0
        assert one["sides"][one["peer_counted"]]["median"] > 0
        assert one["ratios"]["peer"]["median"] > 0
        assert (one["passed"] is None) == (one["aim"] is None)


@pytest.mark.timeout(600)  # it starts a server, and three sides on it
@pytest.mark.usefixtures("postgres")  # skips where no server can be started
@pytest.mark.parametrize("workload", ["one-writer", "sagas"])
def test_a_quick_run_on_postgresql_measures_every_side(workload, tmp_path):
    arguments = ("--quick", "--no-npm", "--rounds", "1", "--only", workload, "--json", str(tmp_path / "found.json"))
    done = run("--engine", "postgres", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert "fsync=on, synchronous_commit=on" in found["durability"]["all sides"]
    for one in found["results"]:
        assert one["workload"] == workload
        assert one["title"] in done.stdout
        assert all(side["median"] > 0 for side in one["sides"].values())
    peers = {name.split()[1] for name in found["results"][0]["sides"] if name.startswith("peer")}
    if workload == "one-writer":
        assert peers == {"eventsourcing"}
        assert "raw" in found["results"][0]["sides"]


def test_an_unknown_workload_is_refused_by_name():
    done = run("--only", "nothing")
    assert done.returncode == 2
    assert "no workload 'nothing'" in done.stderr


@pytest.mark.parametrize(
    ("aim", "figures", "expected"),
    [
        (Aim(2, "", "peer"), {"ours": [6, 4], "peer": [2, 2]}, (2.5, True)),
        (Aim(3, "", "peer"), {"ours": [6, 4], "peer a": [1, 1], "peer b": [2, 2]}, (2.5, False)),  # the better way
        (Aim(0.5, "", "peer", most=True), {"ours": [1, 1], "peer a": [4, 4], "peer b": [2, 2]}, (0.5, True)),
        (Aim(60, "", most=True), {"ours": [61.0]}, (61.0, False)),
        (Aim(1, "", "raw"), {"ours": [1]}, None),
    ],
)
def test_an_aim_is_judged_by_the_median_of_the_rounds_ratios(aim, figures, expected):
    assert result(aim, **figures).verdict() == expected


def test_a_folder_in_memory_is_refused():
    memory = Path("/dev/shm")  # noqa: S108 - the point is that it is memory
    if file_system(memory) != "tmpfs":
        pytest.skip("no folder in memory here")
    with pytest.raises(SystemExit, match="on a disk"):
        choose(memory)
