"""Deliver as a whole against what must come of it: random handlers, crashes anywhere, operators, both ways to go on."""

import asyncio
from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import Backoff, Context, Send, handler
from foldlog.flow import inbox
from foldlog.testing.kit import FakeClock
from tests.unit.bank import Deposit, Deposited, Open, Opened, account
from tests.unit.site import Site, kill, quiet, settled_or_dead
from tests.unit.test_outbox import Write, note

FAILS = 3  # attempts before an event is dead

outcomes = st.sampled_from(["done"] * 4 + ["once", "twice", "dead", "send", "fail then send"])
plans = st.lists(st.tuples(st.sampled_from("abc"), outcomes), min_size=1, max_size=25)


def planned(plan, attempts, trace, concurrency, after_dead):
    """A handler whose answers are written in the plan, by the event's position."""

    @handler("plan", retry=Backoff(FAILS, 1, 5), concurrency=concurrency, after_dead=after_dead)
    async def run(event: Opened | Deposited, ctx: Context) -> Send | None:
        position = ctx.recorded.position
        outcome = plan[position - 1][1]
        attempts[position] += 1
        await asyncio.sleep(0)
        if (outcome == "dead" and attempts["healed"] == 0) or (
            attempts[position] <= {"once": 1, "twice": 2, "fail then send": 1}.get(outcome, 0)
        ):
            raise ValueError(outcome)
        trace[ctx.recorded.key].append(position)
        return Send(note, ctx.recorded.key, Write(str(position))) if outcome.endswith("send") else None

    return run


async def write(app, plan):
    begun = set()
    for key, _ in plan:
        await app.send(account, key, Deposit(1) if key in begun else Open(key))
        begun.add(key)


def positions_of(plan):
    lanes = defaultdict(list)
    for position, (key, outcome) in enumerate(plan, 1):
        lanes[key].append((position, outcome))
    return lanes


async def sent(app):
    return Counter([int(one.data.text) async for one in app.read() if one.type == "note.written"])


@settings(max_examples=100, deadline=None)
@given(plans, st.sampled_from([1, 2, 16]), st.sampled_from(["wait", "go on"]))
def test_every_key_sees_its_events_in_order_and_once(plan, concurrency, after_dead):
    async def main():
        attempts, trace = Counter(), defaultdict(list)
        run = planned(plan, attempts, trace, concurrency, after_dead)
        async with Site(clock=FakeClock()).app([account, note, run]) as app:
            await write(app, plan)
            await app.settle()
            for key, lane in positions_of(plan).items():
                wanted = []
                for position, outcome in lane:
                    if outcome == "dead" and after_dead == "wait":
                        break
                    wanted += [] if outcome == "dead" else [position]
                assert trace[key] == wanted
            tries = {"done": 1, "send": 1, "once": 2, "fail then send": 2, "twice": 3, "dead": FAILS}
            assert all(attempts[position] == tries[plan[position - 1][1]] for position in list(attempts))
            attempts["healed"] = 1
            for _ in plan:
                if not await app.replay(run):
                    break
                await app.settle()
            for key, lane in positions_of(plan).items():
                order = [position for position, _ in lane]
                assert (trace[key] if after_dead == "wait" else sorted(trace[key])) == order
            assert await sent(app) == Counter(at for at, (_, outcome) in enumerate(plan, 1) if outcome.endswith("send"))
            assert not [one async for one in inbox.items(app.system.store, "handler.plan")]

    asyncio.run(main())


@settings(max_examples=100, deadline=None)
@given(plans, st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4), st.sampled_from(["wait", "go on"]))
def test_crashes_lose_nothing_and_repeat_only_what_was_not_marked(plan, crashes, after_dead):
    async def main():
        clock = FakeClock()
        site = Site(clock=clock)
        attempts, trace = Counter(), defaultdict(list)
        run = planned(plan, attempts, trace, 3, after_dead)
        async with site.app([account, note]).open(functions=False) as app:
            await write(app, plan)
        for number, stored in crashes:
            app = site.app([account, note, run])

            def cut(link, batch, number=number):
                link.dead = link.dead or link.commits >= number

            setattr(app.link, "after" if stored else "before", cut)
            await settled_or_dead(app)
            app.link.before = app.link.after = quiet
            await kill(app)
            clock.advance(60)
        attempts["healed"] = 1
        async with site.app([account, note, run]) as app:
            await app.settle()
            for _ in plan:
                if not await app.replay(run):
                    break
                await app.settle()
            for key, lane in positions_of(plan).items():
                order = [position for position, _ in lane]
                assert sorted(set(trace[key])) == order  # nothing is lost
                if after_dead == "wait":
                    assert list(dict.fromkeys(trace[key])) == order  # nor seen too early
            for position in range(1, len(plan) + 1):
                seen = sum(lane.count(position) for lane in trace.values())
                assert seen <= 1 + len(crashes)
            assert await sent(app) == Counter(at for at, (_, outcome) in enumerate(plan, 1) if outcome.endswith("send"))
            assert not [one async for one in inbox.items(app.system.store, "handler.plan")]

    asyncio.run(main())
