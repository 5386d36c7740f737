"""Sagas: steps in order, undone in reverse, whatever fails."""

import asyncio

import pytest

from foldlog import Backoff, Decider, Rejected, Send, command, event
from foldlog.errors import Misconfigured
from foldlog.ports.store import Range
from foldlog.process import Accepted, Cancel, Cancelled, Step, TimedOut, Timer, saga
from foldlog.testing import given
from tests.unit.site import Site, another, crash_at, kill, settled_or_dead

RANGE = Range()


@event("trip.planned")
class Planned:
    fails_at: int = -1


@command("trip.plan")
class Plan:
    fails_at: int = -1


@event("part.booked")
class Booked:
    pass


@event("part.confirmed")
class Confirmed:
    pass


@event("part.declined")
class Declined:
    pass


@event("part.freed")
class Freed:
    pass


@command("part.book")
class Book:
    fails: bool = False


@command("part.free")
class Free:
    pass


trip = Decider("trip", lambda command, there: [Planned(command.fails_at)], lambda there, event: True, initial=False)
trip.decide.__annotations__.update({"command": Plan, "return": list[Planned]})
trip.evolve.__annotations__.update(event=Planned)


class World:
    """Parts of a trip, each in one of three states; what cannot be freed is stuck."""

    def __init__(self):
        self.stuck = set()

    def part(self, name):
        def decide(command: Book | Free, booked: bool) -> list[Booked | Freed]:
            match command:
                case Book(fails):
                    if fails or booked:
                        raise Rejected(f"{name}.full")
                    return [Booked()]
                case Free():
                    if name in self.stuck:
                        raise Rejected(f"{name}.stuck")
                    return [Freed()] if booked else []

        def evolve(booked: bool, event: Booked | Freed) -> bool:
            return isinstance(event, Booked)

        return Decider(name, decide, evolve, initial=False)


NAMES = "flight", "hotel", "car"


def step(number, name, **options):
    return Step(
        do=lambda event: Send(name, "1", Book(fails=event.fails_at == number)),
        undo=lambda event: Send(name, "1", Free()),
        **options,
    )


def journey(**options):
    return saga("journey", [step(at, name) for at, name in enumerate(NAMES)], on=Planned, **options)


async def story(app):
    """What happened to the parts, in order."""
    return [f"{one.category} {one.type.partition('.')[2]}" async for one in app.read() if one.category in NAMES]


@pytest.mark.parametrize("fails_at", [-1, 0, 1, 2])
def test_done_steps_are_undone_in_reverse(site, fails_at):
    async def main():
        world = World()
        async with site.app([trip, *map(world.part, NAMES), journey()]) as app:
            await app.send(trip, "1", Plan(fails_at))
            await app.settle()
            done = NAMES if fails_at < 0 else NAMES[:fails_at]
            freed = [] if fails_at < 0 else [f"{name} freed" for name in reversed(done)]
            assert await story(app) == [f"{name} booked" for name in done] + freed
            assert not (await app.system.store.scan(app.system.processes["journey"].table, RANGE)).rows
            assert await app.dead_letters() == []

    asyncio.run(main())


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("fails_at", [-1, 2])
def test_a_crash_at_any_commit_of_a_step_or_its_undo_changes_nothing(url, clock, stored, fails_at):
    async def attempt(number):
        world, site = World(), Site(another(url, number), clock)
        parts = [trip, *map(world.part, NAMES), journey()]
        async with site.app(parts).open(functions=False) as app:
            await app.send(trip, "1", Plan(fails_at))
        app = site.app(parts)
        vars(app.link).update(crash_at(number, stored=stored))
        crashed = await settled_or_dead(app)
        await kill(app)
        clock.advance(20)
        async with site.app(parts) as app:
            await app.settle()
            freed = [] if fails_at < 0 else ["hotel freed", "flight freed"]
            booked = [f"{name} booked" for name in NAMES]
            assert await story(app) == booked[: 3 if fails_at < 0 else 2] + freed
            assert not (await app.system.store.scan(app.system.processes["journey"].table, RANGE)).rows
        return crashed

    async def main():
        number = 1
        while await attempt(number):
            number += 1
        assert number > 8

    asyncio.run(main())


@pytest.mark.parametrize("decision", ["replay", "discard"])
def test_an_undo_that_is_refused_is_retried_then_parked_for_an_operator(site, decision):
    async def main():
        world = World()
        world.stuck.add("hotel")
        part = journey(retry=Backoff(3, 1, 1))
        async with site.app([trip, *map(world.part, NAMES), part]) as app:
            await app.send(trip, "1", Plan(2))
            await app.settle()
            (letter,) = await app.dead_letters(part)
            assert (letter.command, letter.attempts, letter.key) == ("part.free", 3, "1")
            assert "hotel.stuck" in letter.error
            assert await story(app) == ["flight booked", "hotel booked"]
            world.stuck.clear()
            assert await getattr(app, decision)(part) == 1
            await app.settle()
            freed = ["hotel freed"] if decision == "replay" else []
            assert await story(app) == ["flight booked", "hotel booked", *freed, "flight freed"]
            assert await app.dead_letters() == []

    asyncio.run(main())


PLAN = Planned()


def waits():
    late = [step(0, "flight"), step(1, "hotel", timeout=60, done=Confirmed, failed=Declined), step(2, "car")]
    return saga("late", late, on=Planned)


def test_a_step_that_waits_for_an_event():
    before = [PLAN, Accepted(Book())]
    given(waits(), PLAN).when(Accepted(Book())).then(Send("hotel", "1", Book()), Timer("step", TimedOut(1), after=60))
    given(waits(), *before).when(Accepted(Book())).then_nothing()
    car = Send("car", "1", Book()), Cancel("step")
    given(waits(), *before, Accepted(Book())).when(Confirmed()).then(*car)
    given(waits(), *before).when(Confirmed()).then_nothing()  # its decider's own events come before the answer
    given(waits(), *before, Confirmed()).when(Accepted(Book())).then(*car)
    given(waits(), *before, Accepted(Book()), Confirmed()).when(Accepted(Book())).then_state(None)
    given(waits(), *before, Accepted(Book()), Confirmed()).when(Confirmed()).then_nothing()


def test_a_step_that_takes_too_long_is_undone_with_the_others():
    flight, hotel = (Send(name, "1", Free(), insist=True) for name in ("flight", "hotel"))
    before = [PLAN, Accepted(Book())]
    given(waits(), *before, Accepted(Book())).when(TimedOut(1)).then(Cancel("step"), hotel)
    given(waits(), *before, Accepted(Book()), TimedOut(1)).when(Accepted(Free())).then(Cancel("step"), flight)
    last = given(waits(), *before, Accepted(Book()), TimedOut(1), Accepted(Free())).when(Accepted(Free()))
    last.then_state(None)
    # While its command is on its way nobody knows yet whether there is something to undo.
    given(waits(), *before).when(TimedOut(1)).then_nothing()
    given(waits(), *before, TimedOut(1)).when(Accepted(Book())).then(Cancel("step"), hotel)
    given(waits(), *before, TimedOut(1)).when(Rejected("full", command=Book())).then(Cancel("step"), flight)
    given(waits(), *before, TimedOut(1), Accepted(Book())).when(Confirmed()).then_nothing()  # too late
    given(waits(), *before, TimedOut(1), Accepted(Book())).when(Cancelled("now")).then_nothing()


def test_a_step_that_an_event_says_has_failed_is_not_undone_itself():
    flight = Send("flight", "1", Free(), insist=True)
    before = [PLAN, Accepted(Book())]
    given(waits(), *before, Accepted(Book())).when(Declined()).then(Cancel("step"), flight)
    given(waits(), *before).when(Declined()).then_nothing()
    given(waits(), *before, Declined()).when(Accepted(Book())).then(Cancel("step"), flight)


@pytest.mark.parametrize("ended", [Cancelled("closed"), TimedOut(1)])
def test_a_step_that_was_given_up_and_then_failed_is_not_undone_itself(ended):
    flight = Send("flight", "1", Free(), insist=True)
    before = [PLAN, Accepted(Book()), ended, Declined()]
    given(waits(), *before).when(Accepted(Book())).then(Cancel("step"), flight)
    no_undo = Step(do=lambda event: Send("hotel", "1", Book()), done=Confirmed, failed=Declined)
    last = saga("late", [step(0, "flight"), no_undo], on=Planned)
    if isinstance(ended, Cancelled):
        given(last, *before).when(Accepted(Book())).then(Cancel("step"), flight)


def test_an_operator_cancels_a_saga():
    flight, hotel = (Send(name, "1", Free(), insist=True) for name in ("flight", "hotel"))
    given(waits(), PLAN, Accepted(Book()), Accepted(Book())).when(Cancelled("closed")).then(Cancel("step"), hotel)
    given(waits(), PLAN, Cancelled("closed")).when(Rejected("full", command=Book())).then_state(None)
    given(waits(), PLAN, Cancelled("closed")).when(Accepted(Book())).then(Cancel("step"), flight)


def test_a_cancelled_saga_counts_the_answer_that_it_could_not_take():
    flight, hotel = (Send(name, "1", Free(), insist=True) for name in ("flight", "hotel"))
    before = [PLAN, Accepted(Book())]
    for ended in ([], [Cancelled("before")], [TimedOut(1)]):
        given(waits(), *before, *ended).when(Cancelled("now", "accepted")).then(Cancel("step"), hotel)
        given(waits(), *before, *ended).when(Cancelled("now", "rejected")).then(Cancel("step"), flight)
    given(waits(), *before, Declined()).when(Cancelled("now", "accepted")).then(Cancel("step"), flight)
    given(waits(), PLAN).when(Cancelled("now", "rejected")).then_state(None)
    undoing = [*before, Accepted(Book()), TimedOut(1)]
    given(waits(), *undoing).when(Cancelled("now", "accepted")).then(Cancel("step"), flight)
    given(waits(), *undoing, Accepted(Free())).when(Cancelled("now", "accepted")).then_state(None)
    given(waits(), *before, Accepted(Book())).when(Cancelled("now")).then(Cancel("step"), hotel)


def test_a_last_step_that_cannot_be_undone_ends_the_saga_though_it_was_cancelled():
    part = saga("last", [step(0, "flight"), Step(do=lambda event: Send("car", "1", Book()))], on=Planned)
    late = [PLAN, Accepted(Book()), Cancelled("late")]
    found = given(part, *late).when(Accepted(Book()))
    found.then_nothing()
    found.then_state(None)
    given(part, *late).when(Rejected("full", command=Book())).then(
        Cancel("step"), Send("flight", "1", Free(), insist=True)
    )


def test_steps_with_nothing_to_do_or_undo_are_passed_over():
    def maybe(event):
        return Send("hotel", "1", Book()) if event.fails_at == 7 else None

    some = [step(0, "flight"), Step(do=maybe, undo=lambda event: Send("hotel", "1", Free())), step(2, "car")]
    part = saga("some", [*some, Step(do=lambda event: Send("taxi", "1", Book()))], on=Planned)
    given(part, Planned()).when(Accepted(Book())).then(Send("car", "1", Book()), Cancel("step"))
    given(part, Planned(7)).when(Accepted(Book())).then(Send("hotel", "1", Book()), Cancel("step"))
    refused = given(part, Planned(), *[Accepted(Book())] * 2).when(Rejected("none", command=Book()))
    refused.then(Cancel("step"), Send("car", "1", Free(), insist=True))
    then = given(part, Planned(), *[Accepted(Book())] * 2, Rejected("none", command=Book())).when(Accepted(Free()))
    then.then(Cancel("step"), Send("flight", "1", Free(), insist=True))
    given(part, Planned(-1)).when(Planned(3)).then_nothing()  # it has begun


def test_what_makes_no_saga_is_refused():
    with pytest.raises(Misconfigured, match="at least one Step"):
        saga("none", [], on=Planned)
    with pytest.raises(Misconfigured, match="give it an undo="):
        saga("none", [Step(do=lambda event: None, timeout=5)], on=Planned)
    with pytest.raises(Misconfigured, match="class of the event"):
        saga("none", [step(0, "flight")], on=Book)
