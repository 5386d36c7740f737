"""The simulation's public face: what it takes, what it refuses, what it finds, and how it tells it."""

import asyncio
import gc
import logging
import random
import re
from datetime import timedelta
from itertools import count

import pytest

from foldlog import App, Context, Decider, Recorded, Retry, Send, handler
from foldlog.errors import Corrupt, Misconfigured
from foldlog.flow.lease import CHECKPOINTS
from foldlog.model.message import Receipt
from foldlog.ports.store import Batch, Put, RowKey
from foldlog.testing.simulation import Case, Fault, Found, Simulation, Wait, seen
from foldlog.testing.simulation.run import Run
from foldlog.testing.simulation.shrink import Shrink, smallest
from tests.unit.bank import Deposit, Deposited, Open, Opened, account, balances

STORY = [Send(account, "1", Open("Ann")), Send(account, "1", Deposit(5)), Send(account, "2", Deposit(5))]


def simulated(parts=(account, balances), story=STORY, invariants=(), faults=(), **options):
    return Simulation(list(parts), story, invariants, faults=faults, **options)


def broken(simulation, seed=0):
    return simulation.run(seed).broken


def test_parts_an_app_and_functions_of_either_are_taken():
    app = App("memory:", [account, balances])
    for parts in ([account, balances], app, lambda: app, lambda: [account, balances]):
        assert Simulation(parts, STORY, faults=()).check(2).events == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parts": 5}, "takes parts, an App"),
        ({"parts": [print]}, "is no part"),
        ({"processes": 0}, "from 1 to 16"),
        ({"processes": (3, 2)}, "from 1 to 16"),
        ({"lease": 0}, "lease is seconds"),
        ({"steps": 0}, "steps is 1 to"),
        ({"faults": ["krash"]}, "no fault is named"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options, said):
    with pytest.raises(Misconfigured, match=said):
        Simulation(**{"parts": [account], "story": STORY, **options})


def test_a_story_is_made_of_commands_and_waits():
    with pytest.raises(Misconfigured, match="made of Send and Wait, not of 'open'"):
        simulated(story=["open"]).run(1)
    with pytest.raises(Misconfigured, match="Wait wants seconds from 0 to 315,576,000"):
        Wait(-1)


def test_a_story_that_never_ends_is_cut():
    def endless(_random):
        for number in count():
            yield Send(account, str(number), Open("Ann"))

    assert len(simulated(story=endless, steps=7).run(1).told) == 7


def test_an_invariant_sees_the_log_the_rows_the_commands_and_the_world():
    looked = []

    def look(now):
        looked.append(now)

    assert broken(simulated(invariants=[look], world=lambda: "world")) is None
    now = looked[-1]
    assert now.world == "world"
    assert [event.stream for event in now.events] == ["account-1", "account-1"]
    assert now.of(Deposited) == [Deposited(5)]
    assert now.rows(balances) == {"1": 5}
    assert now.state(account, "1")
    assert now.dead_letters == []
    assert [sent.outcome() for sent in now.sent] == [
        "stored as account-1@1",
        "stored as account-1@2",
        "refused: account.not-possible",
    ]


def test_an_invariant_breaks_by_raising_or_by_answering_false():
    def wrong(now):
        raise ValueError("no")

    def unhappy(now):
        return False

    assert broken(simulated(invariants=[wrong])) == ("wrong", "ValueError: no")
    assert broken(simulated(invariants=[unhappy])) == ("unhappy", "it answered False")


def quiet_point(parts=(account, balances)):
    looked = []
    assert broken(simulated(parts, invariants=[looked.append])) is None
    return looked[-1]


def forged_row(now):
    now.stored(now.views()[0]).clear()


def forged_events(now):
    now.events.append(now.events[0])


def forged_loss(now):
    del now.events[1]


def forged_refusal(now):
    now.sent[0].refused = "no"


def forged_answer(now):
    now.sent[0].answers.append(Receipt("account-1", 9, 9, (1,)))


def forged_error(now):
    now.sent[0].error = KeyError("x")


@pytest.mark.parametrize(
    ("forge", "name"),
    [
        (forged_row, "rows_equal_a_fresh_fold"),
        (forged_events, "each_command_took_effect_once"),
        (forged_loss, "each_command_took_effect_once"),
        (forged_refusal, "each_command_took_effect_once"),
        (forged_answer, "repeated_commands_are_answered_alike"),
        (forged_error, "no_command_fails"),
    ],
)
def test_what_holds_for_every_app_can_fail(forge, name):
    now = quiet_point()
    assert seen.judge(now, seen.ALWAYS) is None
    forge(now)
    assert seen.judge(now, seen.ALWAYS).invariant == name


def test_a_checkpoint_that_goes_back_is_noticed():
    run = Run(simulated()._setting, Case(1, 1, 1), [])  # noqa: SLF001 - no app can make this happen

    def commit(position):
        run.committed(Batch(rows=[Put(CHECKPOINTS, RowKey("", "view.x.1"), b"", position=position)]))

    commit(5)
    commit(5)
    assert run.broken is None
    commit(4)
    assert run.broken.invariant == "checkpoints_never_go_back"


def test_a_function_that_stops_for_good_is_a_failure():
    @handler("stops")
    async def stops(event: Opened) -> None:
        raise Corrupt("what is stored is not what was written")

    failure = broken(simulated([account, stops]))
    assert failure.invariant == "functions_go_on"
    assert "not what was written" in failure.said


def test_an_app_that_never_comes_to_rest_is_a_failure():
    @handler("later")
    async def later(event: Opened) -> Retry:
        return Retry(after=100_000)

    failure = broken(simulated([account, later], processes=1))
    assert failure.invariant == "comes_to_rest"
    assert "handler.later" in failure.said


def test_a_decider_that_fails_is_a_failure():
    def decide(command: Open, state: bool) -> list[Opened]:
        raise KeyError(command.owner)

    def evolve(state: bool, event: Opened) -> bool:
        return True

    poor = Decider("poor", decide, evolve, initial=False)
    failure = broken(simulated([poor], story=[Send(poor, "1", Open("Ann"))]))
    assert failure.invariant == "no_command_fails"
    assert "KeyError('Ann')" in failure.said


def test_a_plain_def_handler_runs_without_a_thread():
    threads = set()

    @handler("plain")
    def plain(event: Opened) -> None:
        threads.add(asyncio.current_task() is not None)

    assert broken(simulated([account, plain])) is None
    assert threads == {True}


def test_on_and_keys_of_a_handler_still_count():
    got = []

    @handler("both", on=Opened | Deposited, key=lambda event: "all")
    async def both(event, ctx: Context) -> None:
        got.append((type(event).__name__, ctx.recorded.version))

    @handler("whole")
    async def whole(event: Recorded[Opened], ctx) -> Send:
        return Send(account, "3", Open(event.key))

    assert broken(simulated([account, both, whole])) is None
    assert got[0] == ("Opened", 1)
    assert sorted(got[1:]) == [("Deposited", 2), ("Opened", 1)]


def test_what_is_not_in_the_seed_s_hands_is_named():
    numbers = count()

    @handler("moody")
    async def moody(event: Opened) -> None:
        if next(numbers) == 0:
            raise ValueError

    def always_wrong(now):
        raise AssertionError

    with pytest.raises(AssertionError, match="went another way when it was run again"):
        simulated([account, moody], invariants=[always_wrong], story=STORY[:1]).check(1)


def test_the_program_s_own_random_and_log_are_left_as_they_were():
    random.seed(5)
    before = random.getstate()
    simulated(faults=None).check(2)
    assert random.getstate() == before
    assert logging.getLogger("foldlog").level == logging.NOTSET


def recorded_weeks_apart(now):
    first, *later = [event.recorded for event in now.events]
    assert all(one - first > timedelta(weeks=2) for one in later)


def test_weeks_of_the_story_pass_as_if_all_machines_slept():
    weeks = 14 * 86_400
    story = [STORY[0], Wait(weeks), *STORY[1:], Wait(weeks), STORY[-1]]
    ran = simulated(story=story, processes=2, faults=None, invariants=[recorded_weeks_apart]).run(0)
    assert ran.broken is None
    assert ran.seconds > 2 * weeks
    assert ran.seconds - 2 * weeks < 3_600  # all that was lived through, second by second
    slept = [line for line in ran.trace.lines() if "all machines sleep for 1,209,540 seconds" in line]
    assert len(slept) == 2
    again = simulated(story=story, processes=2, faults=None, invariants=[recorded_weeks_apart]).replay(ran.case)
    assert list(again.trace.lines()) == list(ran.trace.lines())


def test_a_report_can_be_asked_for_faults():
    report = simulated(faults=["restart"], processes=1).check(3)
    with pytest.raises(AssertionError, match="crash never happened in 3 seeds"):
        report.needs(Fault.CRASH)
    with pytest.raises(Misconfigured, match="no fault"):
        report.needs("krash")
    assert simulated(faults={"crash": 0.3}).check(3).needs("crash").fired[Fault.CRASH]


def test_seeds_may_be_named():
    def odd(now):
        raise AssertionError("always")

    with pytest.raises(Found) as raised:
        simulated(invariants=[odd]).check([7, 8])
    assert raised.value.first.case.seed == 7
    assert raised.value.ran.told == ()


def test_smallest_leaves_nothing_out_that_is_needed():
    tried = []

    def fails(items):
        tried.append(items)
        return {3, 11} <= set(items)

    assert smallest(range(20), fails) == (3, 11)
    assert len(tried) < 100
    assert smallest([], fails) == ()
    assert smallest([1, 2], lambda items: True) == ()


def test_only_a_failure_is_shrunk():
    simulation = simulated()
    with pytest.raises(ValueError, match="only a run that failed"):
        Shrink(simulation.replay, simulation.run(1))


def test_a_long_run_keeps_and_prints_a_bounded_part_of_its_story(monkeypatch):
    def odd(now):
        raise AssertionError("always")

    monkeypatch.setattr("foldlog.limits.SIMULATION_TRACE", 3)
    lines = list(simulated(processes=1).run(0).trace.lines())
    assert len(lines) == 4
    assert re.fullmatch(r"and \d+ more", lines[-1])
    monkeypatch.undo()
    monkeypatch.setattr("foldlog.limits.SIMULATION_STORY", 4)
    monkeypatch.setattr("foldlog.limits.SIMULATION_SHRINK", 0)  # nothing may be tried: the story stays long
    with pytest.raises(Found) as raised:
        simulated(invariants=[odd], processes=1).check(1)
    assert raised.value.ran is raised.value.first
    story = str(raised.value).split("\n\n")[2].splitlines()
    assert len(story) == 5
    assert re.fullmatch(r"\.\.\. \d+ lines \.\.\.", story[2])


def test_what_a_killed_process_was_about_to_do_leaves_no_warning_behind():
    @handler("tidy")
    async def tidy(event: Opened) -> None:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)

    story = [Send(account, str(number), Open("Ann")) for number in range(5)]
    report = simulated([account, tidy], story, faults={"crash": 0.1}).check(20)
    assert report.needs("crash")
    gc.collect()  # an exception in what was dropped would be reported here, and fail the test
