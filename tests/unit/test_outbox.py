"""Commands that a handler answers with: committed with its mark, sent exactly once, refused ones kept."""

import asyncio
from collections import Counter

import pytest

from foldlog import Backoff, Conflict, Context, Decider, Rejected, Send, Upcast, command, event, handler
from foldlog.flow import inbox
from foldlog.model.message import Draft
from foldlog.ports.store import Append, Batch
from tests.unit.bank import Deposit, Deposited, Open, Opened, account
from tests.unit.site import Site, another, crash_at, kill, quiet, settled_or_dead, until


@command("note.write")
class Write:
    text: str


@event("note.written")
class Written:
    text: str


def _write(command: Write, state: int) -> list[Written]:
    if command.text == "refused":
        raise Rejected("note.refused", "not this one")
    return [] if command.text == "empty" else [Written(command.text)]


def _count(state: int, event: Written) -> int:
    return state + 1


note = Decider("note", _write, _count, initial=0)


@handler("writer")
async def writer(event: Opened | Deposited, ctx: Context) -> list[Send]:
    text = f"{ctx.recorded.stream}@{ctx.recorded.version}"
    return [Send(note, "all", Write(text)), Send("note", ctx.recorded.key, Write(f"{text} again"))]


async def notes(app):
    return Counter([one.data.text async for one in app.read() if one.type == "note.written"])


def expected(keys, count):
    texts = [f"account-{key}@{version}" for key in keys for version in range(1, count + 2)]
    return Counter(texts + [f"{text} again" for text in texts])


async def fill(app, keys="ab", count=1):
    for key in keys:
        await app.send(account, key, Open(key))
        for _ in range(count):
            await app.send(account, key, Deposit(1))


@pytest.mark.parametrize("stored", [False, True])
def test_commands_are_sent_exactly_once_wherever_it_crashes(stored, clock, tmp_path, url):
    async def main():
        number, crashed = 0, True
        while crashed:
            number += 1
            site = Site(another(url, number), clock)
            async with site.app([account, note]).open(functions=False) as app:
                await fill(app)
            app = site.app([account, note, writer])
            vars(app.link).update(crash_at(number, stored=stored))
            crashed = await settled_or_dead(app)
            if crashed:
                await kill(app)
                clock.advance(60)
                app = site.app([account, note, writer])
                await app.start()
                await app.settle()
            app.link.before = app.link.after = quiet
            assert await notes(app) == expected("ab", 1), number
            assert not [one async for one in inbox.items(app.system.store, "handler.writer")]
            assert not await app.dead_letters()
            await app.stop()
        assert number > 8

    asyncio.run(main())


def test_what_follows_says_from_whom_and_from_what(site):
    async def main():
        async with site.app([account, note, writer]) as app:
            await app.send(account, "a", Open("a"), correlation="c", tenant="t")
            await app.settle()
            first, *follows = [one async for one in app.read()]
            assert {one.meta.correlation for one in follows} == {"c"}
            assert {one.meta.causation for one in follows} == {first.id}
            assert {one.tenant for one in follows} == {"t"}
            assert len({one.meta.command for one in follows}) == 2

    asyncio.run(main())


def test_a_refused_command_is_a_dead_letter_until_it_is_replayed(site):
    @handler("refuser")
    async def refuser(event: Opened, ctx: Context) -> list[Send]:
        return [Send(note, "a", Write("one")), Send(note, "a", Write("refused")), Send(note, "a", Write("three"))]

    async def main():
        async with site.app([account, note, refuser]) as app:
            await fill(app, "a", 0)
            await app.settle()
            assert await notes(app) == Counter(["one"])
            (letter,) = await app.dead_letters(refuser)
            assert (letter.command, letter.attempts) == ("note.write", 1)
            assert letter.error == "the command was refused: note.refused: not this one"
            assert await app.replay(refuser) == 1
            await app.settle()
            assert len(await app.dead_letters(refuser)) == 1
        async with site.app([account, lenient, refuser]) as app:
            assert await app.replay(refuser, type="account.opened", key="a") == 1
            await app.settle()
            assert await notes(app) == Counter(["one", "refused", "three"])
            assert not await app.dead_letters()

    def anything(command: Write, state: int) -> list[Written]:
        return [Written(command.text)]

    lenient = Decider("note", anything, _count, initial=0)
    asyncio.run(main())


@pytest.mark.parametrize("send", [Send("nobody", "a", Write("x")), Send(account, "a", Write("x"))], ids=str)
def test_a_command_to_nobody_or_to_the_wrong_one_is_a_dead_letter_at_once(send, site):
    @handler("lost")
    async def lost(event: Opened) -> Send:
        return send

    async def main():
        async with site.app([account, note, lost]) as app:
            await fill(app, "ab", 0)
            await app.settle()
            letters = await app.dead_letters(lost)
            assert [(one.attempts, one.command) for one in letters] == [(1, "note.write")] * 2
            assert await app.discard(lost, key="a") == 1
            await app.settle()
            assert [one.key for one in await app.dead_letters(lost)] == ["b"]

    asyncio.run(main())


def test_a_stored_command_that_is_no_longer_known_waits_as_a_dead_letter(site):
    @handler("lost", retry=Backoff(1))
    async def lost(event: Opened) -> list[Send]:
        return [Send("nobody", "a", Write("x")), Send(account, event.owner, Deposit(1))]

    async def main():
        async with site.app([account, note, lost]) as app:
            await fill(app, "a", 0)
            await app.settle()
        async with site.app([account, lost]) as app:  # the decider of notes has left the list, and its commands too
            assert await app.replay(lost) == 1
            await fill(app, "b", 0)
            await app.settle()
            assert ["is not known to this app" in one.error for one in await app.dead_letters(lost)] == [True, False]

    asyncio.run(main())


@command("note.write", version=2)
class WriteLater:
    words: str
    by: str


@command("note.inscribe")
class Inscribe:
    words: str


def _as_words(old):
    return {"words": old["text"], "by": "??"}


@pytest.mark.parametrize(
    ("newer", "steps"),
    [
        (WriteLater, [Upcast("note.write", 1, _as_words)]),
        (Inscribe, [Upcast("note.write", 1, _as_words, to=("note.inscribe", 1))]),
    ],
)
def test_a_stored_command_of_an_older_version_is_upcast_and_sent(site, newer, steps):
    """It was answered by old code, failed there, and is replayed by code that knows a newer version only."""

    @handler("lost", retry=Backoff(1))
    async def lost(event: Opened) -> Send | None:
        return Send("note", "all", Write("x")) if event.owner == "a" else None

    def broken(command: Write, state: int) -> list[Written]:
        raise ZeroDivisionError

    def write(command: newer, state: int) -> list[Written]:
        return [Written(command.words)]

    async def main():
        async with site.app([account, Decider("note", broken, _count, initial=0), lost]) as app:
            await fill(app, "a", 0)
            await app.settle()
            assert [one.command for one in await app.dead_letters(lost)] == ["note.write"]
        async with site.app([account, Decider("note", write, _count, initial=0), lost, *steps]) as app:
            assert await app.replay(lost) == 1
            await app.settle()
            assert await app.dead_letters(lost) == []
            assert await notes(app) == {"x": 1}

    asyncio.run(main())


def test_a_target_that_cannot_be_read_blocks_only_that_key(site):
    async def main():
        async with site.app([account, note, writer_of_one]) as app:
            bad = Batch([Append("note-a", [Draft("note.written", 1, b'{"text":5}')])])
            await app.system.store.commit(bad)
            await fill(app, "ab", 0)
            await app.settle()
            assert [one.key for one in await app.dead_letters()] == ["a"]
            assert (await app.get(note, "b")) == 1

    asyncio.run(main())


@handler("one", retry=Backoff(2, 0, 0))
async def writer_of_one(event: Opened, ctx: Context) -> Send:
    return Send(note, event.owner, Write("x"))


def test_an_empty_answer_takes_the_command_from_the_outbox(site):
    @handler("empty")
    async def empty(event: Opened) -> Send:
        return Send(note, "a", Write("empty"))

    async def main():
        async with site.app([account, note, empty]) as app:
            await fill(app, "a", 0)
            await app.settle()
            assert not [one async for one in inbox.items(app.system.store, "handler.empty")]
            assert not await notes(app)

    asyncio.run(main())


def test_a_retry_that_would_answer_otherwise_does_not_send_twice(clock):
    calls = []

    @handler("moody")
    async def moody(event: Opened) -> Send:
        calls.append(event)
        return Send(note, "a", Write(str(len(calls))))

    async def main():
        site = Site(clock=clock)
        app = site.app([account, note, moody])

        def after_the_outbox(link, batch):
            if any(change.table.name == "inbox" for change in batch.rows):
                link.dead = True

        app.link.after = after_the_outbox
        await app.start()
        await fill(app, "a", 0)
        await until(lambda: app.link.dead)
        await kill(app)
        clock.advance(60)
        async with site.app([account, note, moody]) as app:
            await app.settle()
            assert await notes(app) == Counter(["1"])
            assert len(calls) == 1

    asyncio.run(main())


def test_a_send_that_loses_its_races_is_tried_again(clock, monkeypatch):
    monkeypatch.setattr("foldlog.limits.COMMAND_ATTEMPTS", 2)
    monkeypatch.setattr("foldlog.limits.CONFLICT_JITTER", 0.0)
    lost = []

    def race(link, batch):
        if batch.appends and batch.appends[0].stream == "note-a" and len(lost) < 3:
            lost.append(batch)
            raise Conflict("note-a", 0, 1)

    async def main():
        app = Site(clock=clock).app([account, note, writer_of_one])
        app.link.before = race
        async with app:
            await fill(app, "a", 0)
            await app.settle()
            assert await app.get(note, "a") == 1
            assert len(lost) == 3

    asyncio.run(main())


def test_a_row_that_somebody_else_sent_is_not_sent_again(clock):
    async def main():
        app = Site(clock=clock).app([account, note, writer_of_one])
        seen = []

        def first(link, batch):
            if batch.appends and batch.appends[0].stream == "note-a" and not seen:
                seen.append(batch)
                link.dead = False
                raise Conflict(f"inbox/{batch.rows[0].key.key}", 1, 5, row=f"inbox/{batch.rows[0].key.key}")

        app.link.before = first
        async with app:
            await fill(app, "a", 0)
            await app.settle()
            assert seen
            assert await app.get(note, "a") == 1  # the row was still ready: its version is read again

    asyncio.run(main())


def test_a_command_that_insists_is_tried_again_when_it_is_refused(site, clock):
    closed = {"n"}

    def decide(command: Write, state: None) -> list[Written]:
        if closed:
            raise Rejected("note.closed")
        return [Written(command.text)]

    @handler("insist", retry=Backoff(4, 1, 1))
    async def insist(event: Opened) -> Send:
        return Send("note", "n", Write(event.owner), insist=True)

    strict = Decider("note", decide, lambda state, event: None, initial=None)
    strict.evolve.__annotations__["event"] = Written

    async def main():
        async with site.app([account, strict, insist]) as app:
            await app.send(account, "a", Open("a"))
            await app.settle()
            (letter,) = await app.dead_letters(insist)
            assert letter.attempts == 4
            assert "the command was refused: note.closed" in letter.error
            closed.clear()
            await app.replay(insist)
            await app.settle()
            assert [one.data.text async for one in app.read("note-n")] == ["a"]

    asyncio.run(main())
