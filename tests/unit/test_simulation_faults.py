"""Each named fault happens, at its rate, where it is listed, and does what its name says."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from foldlog import Backoff, Context, Recorded, Send, handler
from foldlog.errors import Misconfigured
from foldlog.testing.simulation import Case, Fault, Simulation, Wait
from foldlog.testing.simulation.fault import Dice, rates
from foldlog.testing.simulation.seen import ALWAYS
from tests.unit.bank import Deposit, Deposited, Open, Opened, account, balances


class World:
    def __init__(self):
        self.arrived = []
        self.times = []


def parts(world):
    @handler("note", retry=Backoff(attempts=5, first=0.1, ceiling=1), timeout=2)
    async def note(event: Recorded[Opened | Deposited], ctx: Context) -> None:
        world.arrived.append(f"{event.stream}@{event.version}")
        world.times.append(ctx.now)

    return [account, balances, note]


STORY = [Send(account, "1", Open("Ann")), Wait(0.5), *(Send(account, "1", Deposit(n)) for n in range(1, 6)), Wait(3)]


def at(fault, *, processes=2, rate=0.2, seeds=30):
    """Runs with this fault alone, in which it happened, each with its lines and its world."""
    worlds = []

    def world():
        worlds.append(World())
        return worlds[-1]

    simulation = Simulation(parts, STORY, world=world, processes=processes, faults={fault: rate}, lease=4)
    found = []
    for seed in range(seeds):
        ran = simulation.run(seed)
        assert ran.broken is None, "\n".join(ran.trace.lines())
        assert {one.fault for one in ran.fired} <= {fault}
        if ran.fired:
            found.append((list(ran.trace.lines()), worlds[-1]))
    assert found
    return found


def behind_fault(lines):
    """What comes right before and all that comes after the first fault."""
    number = next(number for number, line in enumerate(lines) if " FAULT " in line)
    return lines[number - 1], lines[number + 1 :]


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.CRASH_AFTER_COMMIT, Fault.CRASH_IN_HANDLER])
def test_a_process_that_is_killed_ends_and_another_one_takes_its_place(fault):
    for lines, _ in at(fault, processes=1, rate=0.05):
        before, after = behind_fault(lines)
        killed = re.search(r"(p1\.\d+) has ended", after[0])[1]
        assert not any(f"  {killed} " in line for line in after[1:])
        assert any(" starts" in line for line in after)
        if fault is Fault.CRASH_AFTER_COMMIT:
            assert f" {killed} " in before
            assert before.endswith("-> stored")


def test_a_handler_whose_process_is_killed_behind_its_effect_gets_its_event_again():
    for lines, world in at(Fault.CRASH_IN_HANDLER, rate=0.1):
        place = re.search(r"FAULT crash-in-handler note (\S+), attempt 1", "\n".join(lines))[1]
        assert world.arrived.count(place) > 1


def test_a_restart_is_clean_and_leaves_no_lease_behind():
    for lines, world in at(Fault.RESTART, processes=1):
        _, after = behind_fault(lines)
        assert "has ended" in "".join(after)
        assert sorted(set(world.arrived)) == sorted(world.arrived)


def test_who_stands_still_past_its_lease_is_overtaken_and_its_late_writes_are_refused():
    late = 0
    for lines, _ in at(Fault.PAUSE, rate=0.02, seeds=80):
        paused = re.search(r"  (\S+) +FAULT pause", "\n".join(lines))[1]
        _, after = behind_fault(lines)
        late += any(
            f"  {paused} " in line and "+checkpoints" in line and line.endswith("-> conflict") for line in after
        )
    assert late > 3


def test_an_unavailable_store_is_asked_again():
    for lines, world in at(Fault.UNAVAILABLE):
        assert len(set(world.arrived)) == 6
        assert any(re.search(r"FAULT unavailable for a ", line) for line in lines)


def test_a_full_disk_refuses_commits_for_a_while():
    refused = 0
    for lines, world in at(Fault.DISK_FULL):
        _, after = behind_fault(lines)
        refused += any(line.endswith("-> unavailable") for line in after)
        assert len(set(world.arrived)) == 6
    assert refused > 3


def test_a_slow_store_takes_its_time():
    for lines, _ in at(Fault.SLOW_STORE):
        assert float(lines[-1].split()[0]) > 3.5  # what the story itself waits


def test_a_handler_that_fails_before_its_effect_has_it_once():
    for lines, world in at(Fault.FAIL_BEFORE, processes=1):
        assert any(line.endswith("attempt 2") for line in lines)
        assert len(world.arrived) == len(set(world.arrived)) == 6


def test_a_handler_that_fails_behind_its_effect_has_it_again():
    for lines, world in at(Fault.FAIL_AFTER, processes=1):
        assert any(line.endswith("attempt 2") for line in lines)
        assert len(world.arrived) > len(set(world.arrived)) == 6


def test_a_slow_handler_runs_into_its_timeout_or_is_late():
    runs = at(Fault.SLOW_HANDLER, processes=1)
    assert any(any(line.endswith("attempt 2") for line in lines) for lines, _ in runs)
    assert any(len(world.arrived) > len(set(world.arrived)) for _, world in runs)
    assert any(len(world.arrived) == len(set(world.arrived)) for _, world in runs)


def test_a_command_that_is_sent_twice_takes_effect_once():
    both = 0
    for lines, _ in at(Fault.DUPLICATE):
        number = re.search(r"FAULT duplicate command (\d+)", "\n".join(lines))[1]
        commits = [line for line in lines if f"account-1:story-{int(number):06}" in line]
        both += len(commits) > 1
        assert sum(line.endswith("-> stored") for line in commits) == 1
    assert both > 3


def test_a_clock_jumps_for_one_process():
    jumps = [world.times for _, world in at(Fault.CLOCK_JUMP)]
    assert any(abs((later - earlier).total_seconds()) > 9 for times in jumps for earlier, later in pairwise(times))
    assert any(later < earlier for times in jumps for earlier, later in pairwise(times))


def test_the_last_attempt_is_spared_so_that_no_fault_makes_a_dead_letter():
    simulation = Simulation(parts, STORY, world=World, faults={Fault.FAIL_BEFORE: 1.0}, processes=1)
    ran = simulation.run(1)
    assert ran.broken is None
    assert any(line.endswith("6 events, 0 dead letters") for line in ran.trace.lines())


def test_a_list_of_faults_makes_these_happen_and_no_others():
    simulation = Simulation(parts, STORY, world=World)
    ran = simulation.replay(Case(1, 1, 1, faults=(("fail-after", 2), ("crash-in-handler", 5))))
    assert [(one.fault, one.number) for one in ran.fired] == [("fail-after", 2), ("crash-in-handler", 5)]
    assert not simulation.replay(Case(1, 1, 1, faults=())).fired


def test_the_rate_is_the_share_of_opportunities():
    dice = Dice({Fault.CRASH: 0.1, Fault.PAUSE: 0.0, Fault.RESTART: 1.0}, 5, None)
    assert not any(dice.falls(Fault.PAUSE) or dice.falls(Fault.DUPLICATE) for _ in range(1_000))
    assert all(dice.falls(Fault.RESTART) for _ in range(20))
    numbers = [number for number in range(700) if dice.falls(Fault.CRASH)]
    assert 40 < len(numbers) < 100


def test_a_run_has_a_bounded_number_of_faults():
    dice = Dice({Fault.CRASH: 1.0}, 5, None)
    assert sum(dice.falls(Fault.CRASH) for _ in range(1_000)) == 100


def test_faults_are_named_and_their_rates_are_chances():
    assert rates(None).keys() == set(Fault)
    assert rates(["crash"]) == rates("crash") == {Fault.CRASH: Fault.CRASH.rate}
    assert rates(()) == {}
    with pytest.raises(Misconfigured, match="no fault is named 'krash'; there are crash, "):
        rates(["krash"])
    with pytest.raises(Misconfigured, match="rate of 'crash' is a chance"):
        rates({"crash": 1.5})


def test_every_fault_and_every_invariant_is_in_the_guide():
    page = (Path(__file__).parents[2] / "docs/how-to/simulate.md").read_text("utf-8")
    for fault in Fault:
        assert re.search(rf"^\| `{fault}` \| {fault.chance_at}\b", page, re.MULTILINE), fault
    run = (Path(__file__).parents[2] / "src/foldlog/testing/simulation/run.py").read_text("utf-8")
    names = [one.__name__ for one in ALWAYS] + re.findall(r'Broken\("(\w+)"', run)
    assert len(names) == 8
    for name in names:
        assert f"| `{name}` |" in page, name


def test_a_process_may_be_told_to_stop_again_while_it_stops():
    faults = {Fault.RESTART: 1.0, Fault.SLOW_STORE: 0.5}
    report = Simulation(parts, STORY * 8, world=World, processes=1, faults=faults, lease=4).check(5)
    assert report.fired[Fault.RESTART] > 20
