import asyncio
from typing import Any

import pytest

from foldlog import Context, DeadLetter, Recorded, Retry, Send, Skip, command, event, handler
from foldlog.errors import Invalid, Misconfigured
from foldlog.model.principal import Principal
from foldlog.testing import given

account = "account"


@event("account.opened")
class Opened:
    owner: str


@event("account.closed")
class Closed:
    pass


@command("account.deposit")
class Deposit:
    amount: int
    by: str = ""


def failing(match: str) -> Any:
    return pytest.raises(AssertionError, match=match)


@handler("greet")
async def greet(event: Opened, ctx: Context) -> Any:
    await asyncio.sleep(0)
    match event.owner:
        case "busy":
            return Retry(60, "the line is busy")
        case "old":
            return Skip()
        case "never":
            return DeadLetter("no")
        case "wrong":
            raise ValueError("wrong")
        case "nothing":
            return None
        case "number":
            return 5
        case "many":
            return [Send("account", "1", Deposit(1))] * 101
    return [Send(account, ctx.recorded.key, Deposit(number, event.owner)) for number in (1, 2)]


@handler("plain")
def plain(event: Opened) -> Send | None:
    return Send(account, "2", Deposit(1))


def test_a_handler_answers():
    given(greet).when(Opened("Ann")).then(
        Send(account, "1", Deposit(1, "Ann")), Send("account", "1", Deposit(2, "Ann"))
    )
    given(plain).when(Opened("Ann")).then(Send(account, "2", Deposit(1)))
    given(greet).when(Opened("busy")).then(Retry(60))
    given(greet).when(Opened("busy")).then(Retry(60, "the line is busy"))
    given(greet).when(Opened("old")).then(Skip())
    given(greet).when(Opened("never")).then(DeadLetter())
    given(greet).when(Opened("nothing")).then_nothing()
    assert str(given(greet).when(Opened("wrong")).then_raised(ValueError)) == "wrong"


def test_a_handler_is_run_from_a_test_that_is_async_itself():
    async def test():
        given(greet).when(Opened("nothing")).then_nothing()

    asyncio.run(test())


def test_an_answer_that_is_not_the_expected_one_shows_the_difference():
    with failing(
        r"(?s)Handler\('plain'\) answered otherwise.*- Send\('account', '2', Deposit\(amount=2.*\+ Send\('acc"
    ):
        given(plain).when(Opened("Ann")).then(Send(account, "2", Deposit(2)))
    with failing(r"- Retry\(after=61, why=''\)"):
        given(greet).when(Opened("busy")).then(Retry(61))
    with failing(r"- Retry\(after=60, why='other'\)"):
        given(greet).when(Opened("busy")).then(Retry(60, "other"))
    with failing(r"\+ Send\('account', '1', Deposit\(amount=2"):
        given(greet).when(Opened("Ann")).then(Send(account, "1", Deposit(1, "Ann")))
    with failing(r"- nothing\n\+ Skip"):
        given(greet).when(Opened("old")).then_nothing()
    with failing("raised ValueError"):
        given(greet).when(Opened("wrong")).then_nothing()
    with failing("should raise KeyError, and raised ValueError"):
        given(greet).when(Opened("wrong")).then_raised(KeyError)
    with failing(r"should raise KeyError, and answered \[Send"):
        given(plain).when(Opened("Ann")).then_raised(KeyError)


def test_wrong_use_with_a_handler_is_explained():
    with pytest.raises(TypeError, match="remembers nothing between events"):
        given(greet, Opened("Ann"))
    with pytest.raises(TypeError, match="write then_nothing"):
        given(plain).when(Opened("Ann")).then()
    with pytest.raises(Invalid, match="takes no Closed"):
        given(greet).when(Closed())
    with pytest.raises(Invalid, match="answered int: return None, Send"):
        given(greet).when(Opened("number"))
    with pytest.raises(Invalid, match="answered 101 commands; the limit is 100"):
        given(greet).when(Opened("many"))


@pytest.mark.parametrize(
    ("send", "why"),
    [
        (Send("account", "1", Opened("Ann")), "sends Opened, which is no command"),
        (Send("account", "1", 5), "sends int, which is no command"),
        (Send("account", "", Deposit(1)), "bad stream key"),
        (Send("Account", "1", Deposit(1)), "bad category"),
        (Send("account", "1", Deposit("1")), "does not fit its own fields"),
    ],
)
def test_a_command_that_could_not_be_sent_fails_in_the_unit_test(send, why):
    @handler("sender")
    def sender(event: Opened) -> Send:
        return send

    with pytest.raises(Invalid, match=why):
        given(sender).when(Opened("Ann"))


def test_a_handler_that_takes_too_long_fails():
    @handler("slow", timeout=0.01)
    async def slow(event: Recorded[Opened]) -> None:
        await asyncio.Event().wait()

    given(slow).when(Opened("Ann")).then_raised(TimeoutError)


def test_a_context_is_that_of_a_first_attempt():
    seen: list[Context] = []

    @handler("look")
    def look(event: Opened, ctx: Context) -> None:
        seen.append(ctx)

    given(look, principal=Principal("ann")).when(Opened("Ann")).then_nothing()
    (context,) = seen
    assert context.recorded.data == Opened("Ann")
    assert (context.attempt, context.fence, context.principal.actor) == (1, 1, "ann")
    assert context.id == f"handler.look:{context.recorded.id}"


@handler("index", page=3)
async def index(events: list[Opened], ctx: Context) -> Any:
    assert (ctx.recorded, ctx.id) == (None, "")
    match [event.owner for event in events]:
        case ["wrong"]:
            raise ValueError("wrong")
        case ["short", _]:
            return [None]
        case ["number", _]:
            return [None, 5]
        case ["busy", _, _]:
            send = Send(account, "1", Deposit(1))
            return [Retry(5, "busy"), [send, send], [send]]
    return None


def test_a_handler_of_pages_answers_each_event():
    send = Send(account, "1", Deposit(1))
    given(index).when(Opened("Ann")).then_nothing()
    given(index).when(Opened("Ann"), Opened("Bob")).then_nothing()
    given(index).when(Opened("Ann"), Opened("Bob")).then(None, None)
    given(index).when(Opened("busy"), Opened("Ann"), Opened("Bob")).then(Retry(5), [send, send], send)
    given(index).when(Opened("wrong")).then_raised(ValueError)
    with failing(r"- \[Send.*Deposit\(amount=2"):
        given(index).when(Opened("busy"), Opened("Ann"), Opened("Bob")).then(
            Retry(5), [send, Send(account, "1", Deposit(2))], [send]
        )
    with failing("answered otherwise"):
        given(index).when(Opened("busy"), Opened("Ann"), Opened("Bob")).then_nothing()
    with failing("answered otherwise"):
        given(index).when(Opened("Ann"), Opened("Bob")).then(None)


def test_wrong_use_with_a_page_is_explained():
    with pytest.raises(TypeError, match="takes 1 to 3 events in one call, not 4"):
        given(index).when(*[Opened("Ann")] * 4)
    with pytest.raises(TypeError, match="takes 1 to 1 events in one call, not 2"):
        given(plain).when(Opened("Ann"), Opened("Bob"))
    with pytest.raises(Invalid, match="answered 1 verdicts to a page of 2 events"):
        given(index).when(Opened("short"), Opened("Bob"))
    with pytest.raises(Invalid, match="answered int: return None, Send"):
        given(index).when(Opened("number"), Opened("Bob"))


def test_a_part_that_no_app_would_take_is_misconfigured():
    @handler("wrong")
    def wrong(event) -> None: ...

    with pytest.raises(Misconfigured, match="annotate parameter 'event'"):
        given(wrong)
