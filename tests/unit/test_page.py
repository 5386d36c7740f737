"""Handlers of pages: what comes into a page, what is taken of its verdicts, and what happens to one that fails."""

import asyncio
import threading

import pytest

from foldlog import Backoff, Context, DeadLetter, Recorded, Retry, Send, Skip, handler
from foldlog.errors import Misconfigured
from foldlog.flow.attempt import Handling
from foldlog.model.message import Draft
from foldlog.model.principal import Principal
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Deposit, Deposited, Open, Opened, account
from tests.unit.site import turns, until
from tests.unit.test_outbox import Write, note


async def write(app, keys="abc", count=3, **options):
    for key in keys:
        await app.send(account, key, Open(key), **options)
    for amount in range(1, count + 1):
        for key in keys:
            await app.send(account, key, Deposit(amount), **options)


async def run(site, part, work=write, **options):
    """Write first, so that everything is there when the handler begins; returns the dead letters."""
    async with site.app([account, note, part]).open(functions=False) as app:
        await work(app, **options)
    async with site.app([account, note, part]) as app:
        await app.settle()
        return await app.dead_letters(part)


def test_what_is_ready_comes_together_up_to_the_page(site):
    sizes, seen = [], []

    @handler("index", page=5, concurrency=1)
    async def index(events: list[Opened | Deposited]) -> None:
        sizes.append(len(events))
        seen.extend(events)

    asyncio.run(run(site, index))
    assert sizes == [5, 5, 2]
    assert len(seen) == 12


def test_a_plain_function_takes_pages_too(site):
    threads = set()

    @handler("index")
    def index(events: list[Recorded[Opened]]) -> None:
        threads.add((threading.get_ident(), tuple(event.key for event in events)))

    asyncio.run(run(site, index))
    ((thread, keys),) = threads
    assert thread != threading.get_ident()
    assert sorted(keys) == ["a", "b", "c"]


def test_pages_run_side_by_side_with_different_keys(site):
    running, most = [], []
    gate = asyncio.Event()

    @handler("index", page=4, concurrency=3)
    async def index(events: list[Recorded[Opened | Deposited]]) -> None:
        keys = {event.key for event in events}
        assert not keys & {key for others in running for key in others}
        running.append(keys)
        most.append(len(running))
        if len(running) == 3:
            await turns()
            gate.set()
        await gate.wait()
        running.remove(keys)

    asyncio.run(run(site, index, keys="abcdefgh", count=4))
    assert max(most) == 3


def test_each_event_has_its_own_verdict(site):
    calls = []

    @handler("index", retry=Backoff(3, 1, 1), concurrency=1)
    async def index(events: list[Recorded[Opened]]) -> list[object]:
        calls.append([event.key for event in events])
        answers = {"a": None, "b": Skip("no"), "d": DeadLetter("never")}
        answers["c"] = Retry(5) if len(calls) == 1 else None
        answers["e"] = Send(note, "e", Write("one"))
        answers["f"] = [Send(note, "f", Write("one")), Send(note, "f", Write("two"))]
        answers["g"] = "what"
        return [answers[event.key] for event in events]

    async def main():
        letters = await run(site, index, keys="abcdefg", count=0)
        assert {letter.key: letter.attempts for letter in letters} == {"d": 1, "g": 3}
        assert "Invalid" in next(letter.error for letter in letters if letter.key == "g")
        assert calls[0] == list("abcdefg")
        assert sorted(key for call in calls[1:] for key in call) == ["c", "g", "g"]
        async with site.app([account, note, index]).open(functions=False) as app:
            texts = {key: [one.data.text async for one in app.read(f"note-{key}")] for key in "ef"}
            assert texts == {"e": ["one"], "f": ["one", "two"]}

    asyncio.run(main())


def test_behind_one_that_failed_nothing_of_its_key_is_taken(site):
    calls = []

    @handler("index", concurrency=1)
    async def index(events: list[Recorded[Opened | Deposited]]) -> list[object]:
        calls.append([(event.key, event.version) for event in events])
        if len(calls) > 1:
            return [None] * len(events)
        return [Retry(5) if (event.key, event.version) == ("a", 2) else None for event in events]

    asyncio.run(run(site, index, keys="ab", count=3))
    assert calls == [
        [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 1), ("b", 2), ("b", 3), ("b", 4)],
        [("a", 2), ("a", 3), ("a", 4)],
    ]


@pytest.mark.parametrize("after_dead", ["wait", "go on"])
def test_a_poison_event_is_found_by_halving_and_takes_no_other_along(site, after_dead):
    calls, done = [], []

    @handler("index", retry=Backoff(2, 1, 1), concurrency=1, after_dead=after_dead)
    async def index(events: list[Recorded[Opened | Deposited]]) -> None:
        calls.append(len(events))
        if any((event.key, event.version) == ("m", 2) for event in events):
            raise ValueError("poison")
        done.extend((event.key, event.version) for event in events)

    letters = asyncio.run(run(site, index, keys="abcdefghijklmnopqrstuvwxyzABCDEF", count=2))
    assert [(letter.key, letter.version, letter.attempts) for letter in letters] == [("m", 2, 2)]
    assert len(done) == len(set(done)) == 32 * 3 - 1 - (after_dead == "wait")
    assert sum(1 for size in calls if size == 1) <= 4
    assert len(calls) < 30  # not one call for each event


BAD_PAGES = {
    "a number": 5,
    "one Send": Send(account, "1", Deposit(1)),
    "one verdict": Skip(),
    "too few": [],
    "too many": [None] * 50,
    "too large": [[Send(account, "1", Open("x" * 1_000_000))] * 5],
}


@pytest.mark.parametrize("answer", BAD_PAGES.values(), ids=BAD_PAGES.keys())
def test_a_page_that_is_answered_wrongly_fails_for_each_of_its_events(answer, site):
    @handler("index", retry=Backoff(2, 1, 1))
    async def index(events: list[Opened]) -> object:
        return answer

    letters = asyncio.run(run(site, index, count=0))
    assert [(letter.key, letter.attempts) for letter in letters] == [("a", 2), ("b", 2), ("c", 2)]
    assert "answered" in letters[0].error


def test_a_page_that_takes_too_long_is_halved_too(site):
    done = []

    @handler("index", timeout=0.01, retry=Backoff(1), concurrency=1)
    async def index(events: list[Recorded[Opened]]) -> None:
        if any(event.key == "b" for event in events):
            await asyncio.Event().wait()
        done.extend(event.key for event in events)

    (letter,) = asyncio.run(run(site, index, count=0))
    assert letter.key == "b"
    assert letter.error.endswith("longer than timeout=0.01 s")
    assert sorted(done) == ["a", "c"]


def test_an_event_that_cannot_be_decoded_fails_alone(site):
    done = []

    @handler("index", retry=Backoff(2, 1, 1))
    async def index(events: list[Opened | Deposited]) -> None:
        done.extend(events)

    async def work(app):
        await write(app, count=0)
        await app.system.store.commit(Batch([Append("account-b", [Draft("account.deposited", 1, b'{"amount":"x"}')])]))
        await app.send(account, "c", Deposit(1))

    (letter,) = asyncio.run(run(site, index, work))
    assert (letter.key, letter.attempts) == ("b", 2)
    assert len(done) == 4


def test_a_page_is_of_one_tenant_and_tells_what_its_events_have_in_common(site):
    seen = []

    @handler("index", concurrency=1)
    async def index(events: list[Recorded[Opened]], ctx: Context) -> None:
        seen.append((ctx.tenant, ctx.principal.actor, ctx.correlation, ctx.recorded, ctx.id, len(events)))
        assert {event.tenant for event in events} == {ctx.tenant}

    async def work(app):
        for tenant, actors in (("x", "aa"), ("y", "ab")):
            for key, actor in enumerate(actors):
                principal = Principal(actor)
                await app.send(account, str(key), Open("x"), tenant=tenant, principal=principal, correlation=tenant)

    asyncio.run(run(site, index, work))
    assert sorted(seen) == [("x", "a", "x", None, "", 2), ("y", "", "y", None, "", 2)]


def test_the_attempt_of_a_page_is_the_highest_of_its_events(site):
    attempts = []

    @handler("index", retry=Backoff(3, 1, 1))
    async def index(events: list[Recorded[Opened]], ctx: Context) -> list[object]:
        attempts.append((ctx.attempt, [event.key for event in events]))
        return [Retry(1) if ctx.attempt < 3 and event.key == "b" else None for event in events]

    asyncio.run(run(site, index, count=0))
    assert attempts == [(1, ["a", "b", "c"]), (2, ["b"]), (3, ["b"])]


def test_large_events_are_cut_into_several_pages(site, monkeypatch):
    monkeypatch.setattr("foldlog.limits.PAGE_BYTES", 3_000)
    sizes = []

    @handler("index", concurrency=1)
    async def index(events: list[Opened]) -> None:
        sizes.append(len(events))

    async def work(app):
        for key in range(7):
            large = Draft("account.opened", 1, b'{"owner":"%s"}' % (b"x" * 1_300))
            await app.system.store.commit(Batch([Append(f"account-{key}", [large])]))

    asyncio.run(run(site, index, work))
    assert sizes == [2, 2, 2, 1]


def test_a_stop_lets_a_running_page_finish_and_starts_none(site):
    begun, gate = [], asyncio.Event()

    @handler("index", page=2, concurrency=1)
    async def index(events: list[Recorded[Opened]]) -> None:
        begun.extend(event.key for event in events)
        await gate.wait()

    async def main():
        async with site.app([account, note, index]).open(functions=False) as app:
            await write(app, "abcdef", 0)
        app = site.app([account, note, index])
        await app.start()
        await until(lambda: begun)
        stopping = asyncio.create_task(app.stop())
        await turns()
        gate.set()
        await stopping
        assert begun == ["a", "b"]
        async with site.app([account, note, index]) as app:
            await app.settle()
            assert begun == list("abcdef")

    asyncio.run(main())


def test_an_operator_replays_into_a_page(site):
    broken, done = True, []

    @handler("index", retry=Backoff(1))
    async def index(events: list[Recorded[Opened | Deposited]]) -> list[object]:
        answers = [DeadLetter("no") if broken and event.version == 2 else None for event in events]
        done.extend(event.version for event, answer in zip(events, answers, strict=True) if answer is None)
        return answers

    async def main():
        nonlocal broken
        async with site.app([account, note, index]) as app:
            await write(app, "a", 4)
            await app.settle()
            broken = False
            done.clear()
            assert await app.replay(index) == 1
            await app.settle()
            assert done == [2, 3, 4, 5]
            assert await app.dead_letters(index) == []

    asyncio.run(main())


def test_a_page_is_declared_rightly():
    def effect(function, **options):
        return Handling(handler("index", **options)(function))

    async def single(event: Opened) -> None: ...
    async def listed(events: list[Opened]) -> None: ...
    async def bare(events: list) -> None: ...
    async def text(events: "list[Recorded[Opened]]") -> None: ...
    async def hidden(events: "list[Recorded[Nowhere]]") -> None: ...  # noqa: F821 - cannot be resolved, on purpose
    async def every(events: list[Recorded]) -> None: ...

    assert effect(single).page == 1
    assert (effect(listed).page, effect(listed, page=7).page) == (100, 7)
    assert effect(text).takes == ((Opened,), True, True)
    assert effect(hidden, on=Opened | Deposited).takes == ((Opened, Deposited), True, True)
    assert effect(bare, on=Opened).takes == ((Opened,), False, True)
    assert effect(every).takes == ((), True, True)
    with pytest.raises(Misconfigured, match="page= is for a handler of pages"):
        effect(single, page=7)
    with pytest.raises(Misconfigured, match="list is no event"):
        effect(bare)
    for wrong in (0, 1_001, True, 2.0, "5"):
        with pytest.raises(Misconfigured, match="page is 1 to 1,000 events"):
            effect(listed, page=wrong)
