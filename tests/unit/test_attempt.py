"""One call of a handler: whatever it does, it is an outcome, and the function goes on."""

import asyncio
import threading

import pytest

from foldlog import Backoff, Context, Decider, Send, handler
from foldlog.errors import Corrupt, Undecodable
from foldlog.flow.attempt import Handling
from tests.unit.bank import Deposit, Open, Opened, account, decide, evolve
from tests.unit.site import Site, until


def run(clock, function, key="a"):
    """What is left after one event, as the dead letters' errors."""
    part = handler("see", retry=Backoff(1), timeout=0.01)(function)

    async def main():
        async with Site(clock=clock).app([account, part]) as app:
            await app.send(account, key, Open("x"))
            await app.send(account, "other", Open("y"))
            await app.settle()
            return [one.error for one in await app.dead_letters(part)]

    return asyncio.run(main())


BAD = {
    "a number": 5,
    "a text": "done",
    "some that are no Send": [Send(account, "1", Deposit(1)), 5],
    "an event": Send(account, "1", Opened("x")),
    "no command": Send(account, "1", object()),
    "wrong field": Send(account, "1", Deposit("x")),
    "bad key": Send(account, "", Deposit(1)),
    "no key": Send(account, ["1"], Deposit(1)),
    "bad decider": Send("No Decider", "1", Deposit(1)),
    "too many": [Send(account, "1", Deposit(1))] * 101,
    "too large": [Send(account, "1", Open("x" * 1_000_000))] * 5,
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_a_bad_answer_is_a_failed_attempt(answer, clock):
    async def function(event: Opened) -> None:
        return answer if event.owner == "x" else None

    assert len(run(clock, function)) == 1


def test_a_timeout_and_its_look_alikes(clock):
    async def slow(event: Opened) -> None:
        if event.owner == "x":
            await asyncio.Event().wait()

    async def own(event: Opened) -> None:
        if event.owner == "x":
            raise TimeoutError("the mail server")

    async def cancelled(event: Opened) -> None:
        if event.owner == "x":
            raise asyncio.CancelledError

    (error,) = run(clock, slow)
    assert error.endswith("\nTimeoutError\nthe attempt took longer than timeout=0.01 s")
    (error,) = run(clock, own)
    assert error.endswith("TimeoutError: the mail server\n")
    (error,) = run(clock, cancelled)
    assert "CancelledError" in error


def test_a_thread_that_is_too_slow_is_given_up(clock):
    release = threading.Event()

    def slow(event: Opened) -> None:
        if event.owner == "x":
            release.wait(5)

    part = handler("see", retry=Backoff(1), timeout=0.01)(slow)

    async def main():
        async with Site(clock=clock).app([account, part]) as app:
            await app.send(account, "a", Open("x"))
            await app.settle()
            assert len(await app.dead_letters(part)) == 1
            release.set()

    asyncio.run(main())


def test_an_error_that_cannot_be_printed(clock):
    async def odd(event: Opened) -> None:
        if event.owner == "x":
            raise ValueError("\udc80\ud800")

    assert "ValueError: ??" in run(clock, odd)[0]


def test_corrupt_storage_stops_the_function_and_undecodable_events_do_not(clock):
    @handler("corrupt")
    async def corrupt(event: Opened) -> None:
        raise Corrupt("a checksum is wrong")

    @handler("other", retry=Backoff(1))
    async def other(event: Opened) -> None:
        raise Undecodable

    async def main():
        async with Site(clock=clock).app([account, corrupt, other]) as app:
            await app.send(account, "a", Open("x"))
            with pytest.raises(Corrupt, match="checksum"):
                await app.settle()
            await until(lambda: app.runner("handler.other").settled(1))
            assert await app.dead_letters(other)
            assert not await app.dead_letters(corrupt)

    asyncio.run(main())


def test_what_a_handler_is_told(site, clock):
    seen = []

    @handler("see")
    async def see(event: Opened, ctx: Context) -> None:
        seen.append(ctx)

    async def main():
        async with site.app([account, see]) as app:
            await app.send(account, "a", Open("x"), correlation="c", tenant="t")
            await app.settle()
            (ctx,) = seen
            assert (ctx.correlation, ctx.tenant, ctx.attempt) == ("c", "t", 1)
            assert ctx.recorded.data == Opened("x")
            assert ctx.id == f"handler.see:{ctx.recorded.id}"
            assert ctx.fence > 0

    asyncio.run(main())


def test_a_handler_outside_an_app_sends_nothing(clock):
    part = Decider("account", decide, evolve, initial=None)

    async def sends(event: Opened) -> Send:
        return Send(part, "1", Deposit(1))

    effect = Handling(handler("see")(sends))
    assert "outside an App" in effect._outcome(Send(part, "1", Deposit(1))).error  # noqa: SLF001 - seen from inside
