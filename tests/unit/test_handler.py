import pytest

from foldlog import Backoff, Context, DeadLetter, Retry, Skip, handler
from foldlog.errors import Invalid, Misconfigured
from foldlog.model.principal import Principal
from foldlog.testing import FakeClock


def greet(event: int) -> str:
    return f"welcome, {event}"


def test_a_handler_is_called_as_the_function_it_is():
    greeting = handler("greet")(greet)
    assert greeting(5) == greeting(event=5) == "welcome, 5"
    assert repr(greeting) == "Handler('greet')"
    assert greeting.retry == Backoff()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"name": "Greet"}, "bad name"),
        ({"after_dead": "stop"}, "'wait' or 'go on', not 'stop'"),
        ({"start": "last"}, "'first' or 'new', not 'last'"),
        ({"concurrency": 0}, "concurrency is 1 to"),
        ({"concurrency": True}, "concurrency is 1 to"),
        ({"concurrency": 10_000}, "concurrency is 1 to"),
        ({"timeout": 0}, "timeout more than 0"),
        ({"timeout": float("nan")}, "timeout more than 0"),
    ],
)
def test_a_bad_setting_is_refused(options, why):
    with pytest.raises(Misconfigured, match=why):
        handler(**{"name": "greet", **options})(greet)


def test_verdicts_are_values():
    assert Retry(60) == Retry(60, "")
    assert Skip("old") != Skip()
    assert DeadLetter("never").why == "never"


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), 1e9])
def test_a_retry_at_no_time_is_refused(after):
    with pytest.raises(Invalid, match="Retry wants seconds"):
        Retry(after)


def test_a_context_knows_nobody_in_particular():
    context = Context(FakeClock().now())
    assert context.principal == Principal("")
    assert (context.recorded, context.attempt, context.fence) == (None, 1, 0)
