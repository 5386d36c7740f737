"""Short forms of the long checks; `make reliability` runs them in full."""

import os
from pathlib import Path

import pytest

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
from tests.reliability.processes import Place
from tests.servers import Postgres, postgres_or_skip


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place for a check that runs on both engines."""
    return Place(tmp_path, request.getfixturevalue("postgres") if request.param == "postgres" else None)


def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(place: Place) -> None:
    result = kills.kill_writers(place, rounds=4 if place.server else 6)
    assert not result.faults
    assert result.figures["events"]


def test_rows_and_effects_are_right_when_functions_are_killed(place: Place) -> None:
    result = functions.kill_functions(place, rounds=3 if place.server else 5)
    assert not result.faults
    assert result.figures["events"]


@pytest.mark.skipif(
    faults.STRACE is None and not os.environ.get("CI"),
    reason="strace is missing: apt install strace",
)
def test_nothing_is_lost_when_a_write_or_sync_fails(tmp_path: Path) -> None:
    result = faults.failing_calls(tmp_path, step=9, count=6)
    assert not result.faults
    assert int(str(result.figures["call sites"])) > 8


def test_what_a_stopped_owner_writes_late_is_refused(place: Place) -> None:
    # This machine may be busy with other tests.
    result = stops.stop_owners(place, rounds=2 if place.server else 3, patience=20)
    assert not result.faults
    assert result.figures["events"]


def test_four_processes_share_the_work_of_one(tmp_path: Path) -> None:
    assert not scale.scale(tmp_path, events=400, least=0).faults


def test_one_of_eight_processes_wins(place: Place) -> None:
    assert not races.one_winner(place, rounds=60).faults


def test_readers_that_follow_see_one_order(place: Place) -> None:
    assert not races.tailing(place, events=6_000, writers=4, readers=2).faults


def test_readers_behind_commits_that_overtake_skip_nothing(tmp_path: Path, postgres: Postgres) -> None:
    result = overtaking.overtake(Place(tmp_path, postgres), events=900, runs=1, held=0.5, writers=2)
    assert not result.faults
    assert all(result.figures[what] for what in ("processes killed", "connections ended by force"))


def test_nothing_acknowledged_is_lost_when_the_server_is_stopped_at_once(tmp_path: Path) -> None:
    with postgres_or_skip() as server:
        result = outages.restart_server(Place(tmp_path, server), restarts=2, senders=2)
    assert not result.faults
    assert result.figures["events"]


def test_a_killed_log_serves_again(tmp_path: Path) -> None:
    assert not restarts.restart(tmp_path, events=20_000).faults


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1_000_000, 1_005_000, 500))
def test_no_simulated_seed_breaks_an_invariant(first: int) -> None:
    told = seeds.tally(first, 500)
    assert not told.faults
    assert told.repeated == 10


def test_a_saga_that_is_killed_ends_as_it_should(place: Place) -> None:
    result = sagas.kill_steps(place, every=5, failing=(2,)) if place.server else sagas.kill_steps(place, every=7)
    assert not result.faults
    assert int(str(result.figures["kills"])) > (2 if place.server else 4)


def test_sagas_go_through_restarts(place: Place) -> None:
    assert not sagas.restart_sagas(place, sagas=60, restarts=3).faults


def test_timers_due_during_a_crash_ring_once(place: Place) -> None:
    result = sagas.kill_timers(place, timers=200, kills=2)
    assert not result.faults
    assert result.figures["kills"] == 2


def test_a_rebuild_that_is_killed_goes_on(tmp_path: Path) -> None:
    result = rebuilds.kill_rebuilds(tmp_path, rounds=4)
    assert not result.faults
    assert result.figures["of them while building"]


def test_a_rebuild_is_measured_beside_live_traffic(tmp_path: Path) -> None:
    result = rebuilds.measure_rebuild(tmp_path, events=10_000, seconds=1.0)
    assert not result.faults
    assert all(result.figures[f"{name}: commits"] for name in ("quiet", "own process", "serving process"))


def test_a_fork_that_is_killed_is_whole_or_absent(tmp_path: Path) -> None:
    result = forks.kill_forks(tmp_path, rounds=6, events=20_000)
    assert not result.faults
    assert result.figures["killed"]


@pytest.mark.skipif(
    reallogs.data_folder() is None and not os.environ.get("CI"),
    reason="the real logs are missing: FOLDLOG_DATA names the folder that has event-logs/",
)
def test_rows_of_real_logs_are_the_same_live_built_later_and_as_of_now(tmp_path: Path) -> None:
    assert not reallogs.real_logs(tmp_path, most=250).faults
