"""Pages against what must come of them: random verdicts, pages that fail as a whole, crashes anywhere."""

import asyncio
from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from foldlog import Backoff, DeadLetter, Recorded, Retry, Send, Skip, handler
from foldlog.flow import inbox
from foldlog.testing.kit import FakeClock
from tests.unit.bank import Deposited, Opened, account
from tests.unit.site import Site, kill, quiet, settled_or_dead
from tests.unit.test_deliver_model import positions_of, sent, write
from tests.unit.test_outbox import Write, note

FAILS = 3  # attempts before an event is dead

outcomes = st.sampled_from(["done"] * 4 + ["skip", "later", "send", "dead", "raise", "poison", "wrong"])
plans = st.lists(st.tuples(st.sampled_from("abcd"), outcomes), min_size=1, max_size=30)


class Book:
    """A handler of pages whose answers are planned, and what must have been taken of them."""

    def __init__(self, plan, page, concurrency, after_dead):
        self.plan, self.page = plan, page
        self.calls = Counter()
        self.alone = Counter()
        self.trace = defaultdict(list)
        self.healed = False
        options = {"retry": Backoff(FAILS, 1, 5), "page": page, "concurrency": concurrency, "after_dead": after_dead}

        @handler("plan", breaker=None, **options)
        async def run(events: list[Recorded[Opened | Deposited]]) -> list[object]:
            await asyncio.sleep(0)
            return self.answer(events)

        self.handler = run

    def answer(self, events):
        assert 1 <= len(events) <= self.page
        self.calls.update(event.position for event in events)
        if len(events) == 1:
            self.alone[events[0].position] += 1
        for lane in {event.key for event in events}:
            positions = [event.position for event in events if event.key == lane]
            whole = [position for position, _ in positions_of(self.plan)[lane]]
            assert positions == whole[whole.index(positions[0]) :][: len(positions)]  # in order, and no gap
        bad = {"poison"} | ({"raise"} if any(self.calls[event.position] == 1 for event in events) else set())
        if not self.healed and any(self.outcome(event) in bad for event in events):
            raise ValueError("the whole page")
        answers = [self.verdict(event) for event in events]
        failed = set()
        for event, answer in zip(events, answers, strict=True):
            if event.key not in failed and (answer is None or isinstance(answer, Send | Skip)):
                self.trace[event.key].append(event.position)
            else:
                failed.add(event.key)
        return answers

    def outcome(self, event):
        return self.plan[event.position - 1][1]

    def verdict(self, event):
        first = self.calls[event.position] == 1
        match self.outcome(event):
            case "skip":
                return Skip("no")
            case "later" if first:
                return Retry(3)
            case "dead" if not self.healed:
                return DeadLetter("no")
            case "wrong" if first:
                return 5
            case "send":
                return Send(note, event.key, Write(str(event.position)))
        return None


def wanted_of(lane, after_dead):
    wanted = []
    for position, outcome in lane:
        if outcome not in {"dead", "poison"}:
            wanted.append(position)
        elif after_dead == "wait":
            break
    return wanted


def sends_of(plan):
    return Counter(position for position, (_, outcome) in enumerate(plan, 1) if outcome == "send")


@settings(max_examples=150, deadline=None)
@given(plans, st.sampled_from([1, 2, 5, 100]), st.sampled_from([1, 3]), st.sampled_from(["wait", "go on"]))
def test_every_key_has_its_verdicts_taken_in_order_and_once(plan, page, concurrency, after_dead):
    async def main():
        book = Book(plan, page, concurrency, after_dead)
        async with Site(clock=FakeClock()).app([account, note, book.handler]) as app:
            await write(app, plan)
            await app.settle()
            for key, lane in positions_of(plan).items():
                assert book.trace[key] == wanted_of(lane, after_dead)
            for letter in await app.dead_letters(book.handler):
                outcome = plan[letter.position - 1][1]
                assert outcome in {"dead", "poison"}
                if outcome == "poison":  # only what fails alone is an attempt at it
                    assert letter.attempts == FAILS == book.alone[letter.position]
            book.healed = True
            for _ in plan:
                if not await app.replay(book.handler):
                    break
                await app.settle()
            for key, lane in positions_of(plan).items():
                order = [position for position, _ in lane]
                assert (book.trace[key] if after_dead == "wait" else sorted(book.trace[key])) == order
            assert await sent(app) == sends_of(plan)
            for key in book.trace:  # what follows from a key's events follows in their order
                followed = [int(one.data.text) async for one in app.read(f"note-{key}")]
                assert followed == [at for at in book.trace[key] if plan[at - 1][1] == "send"]
            assert not [one async for one in inbox.items(app.system.store, "handler.plan")]

    asyncio.run(main())


@settings(max_examples=100, deadline=None)
@given(
    plans,
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4),
    st.sampled_from([2, 5, 100]),
    st.sampled_from(["wait", "go on"]),
)
def test_crashes_lose_nothing_of_a_page(plan, crashes, page, after_dead):
    async def main():
        clock = FakeClock()
        site = Site(clock=clock)
        book = Book(plan, page, 2, after_dead)
        async with site.app([account, note]).open(functions=False) as app:
            await write(app, plan)
        for number, stored in crashes:
            app = site.app([account, note, book.handler])

            def cut(link, batch, number=number):
                link.dead = link.dead or link.commits >= number

            setattr(app.link, "after" if stored else "before", cut)
            await settled_or_dead(app)
            app.link.before = app.link.after = quiet
            await kill(app)
            clock.advance(60)
        book.healed = True
        async with site.app([account, note, book.handler]) as app:
            await app.settle()
            for _ in plan:
                if not await app.replay(book.handler):
                    break
                await app.settle()
            for key, lane in positions_of(plan).items():
                order = [position for position, _ in lane]
                assert sorted(set(book.trace[key])) == order
                if after_dead == "wait":
                    assert list(dict.fromkeys(book.trace[key])) == order
            assert await sent(app) == sends_of(plan)
            assert not [one async for one in inbox.items(app.system.store, "handler.plan")]

    asyncio.run(main())
