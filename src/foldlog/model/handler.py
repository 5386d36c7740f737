"""The handler: a function with effects, run for each event of its types, at least once; and its verdicts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured
from foldlog.model.principal import Principal
from foldlog.model.retry import LONGEST, Backoff, Breaker
from foldlog.model.stream import check_part

if TYPE_CHECKING:
    from datetime import datetime

    from foldlog.model.message import Recorded

_BREAKER = Breaker()
E = TypeVar("E")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Retry:
    """A handler's answer: not now; try again after `after` seconds. It counts as an attempt."""

    after: float
    why: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.after < LONGEST:
            raise Invalid(f"Retry wants seconds from 0 to {LONGEST:,.0f}, not {self.after!r}")


@dataclass(frozen=True, slots=True)
class Skip:
    """A handler's answer: this event needs nothing from me. It is marked as done and logged."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A handler's answer: no attempt will ever help. The event is kept as a dead letter at once."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What surrounds one call of `decide` or of a handler.

    `now` is the clock's time in UTC, `principal` the one who asks, `correlation` the id shared by all that follows
    from one request. Only in handlers: `recorded`, the event with its envelope; `attempt`, from 1; `id`, the same for
    every attempt at this event, to be given to the outside world as its idempotency key; `fence`, a number that rises
    with every new owner of the function, for systems that can refuse a late writer.

    In a call with a page of events, `recorded` is None and `id` empty: take `list[Recorded[E]]` and use the `id` of
    each. `principal` and `correlation` are those of all its events, or empty where they differ; `attempt` is the
    highest of theirs. A page is always of one tenant.
    """

    now: "datetime"
    principal: Principal = Principal()
    correlation: str = ""
    tenant: str = ""
    recorded: "Recorded[Any] | None" = None
    attempt: int = 1
    id: str = ""
    fence: int = 0


class Handler(Generic[F]):
    """What `@handler` returns. Calling it calls the function."""

    __slots__ = (
        "after_dead",
        "breaker",
        "concurrency",
        "function",
        "key",
        "name",
        "on",
        "page",
        "retry",
        "start",
        "timeout",
    )

    def __init__(  # noqa: PLR0913 - what the decorator takes, and the function
        self,
        name: str,
        function: F,
        *,
        key: Callable[[Any], str] | None = None,
        on: Any = None,
        retry: Backoff | None = None,
        timeout: float = limits.HANDLER_TIMEOUT,
        concurrency: int = limits.CONCURRENCY,
        after_dead: str = "wait",
        start: str = "first",
        page: int | None = None,
        breaker: Breaker | None = _BREAKER,
    ) -> None:
        try:
            self.name = check_part(name)
        except Invalid as error:
            raise Misconfigured(error.message) from error
        if after_dead not in {"wait", "go on"}:
            raise Misconfigured(f"handler {name!r}: after_dead is 'wait' or 'go on', not {after_dead!r}")
        if start not in {"first", "new"}:
            raise Misconfigured(f"handler {name!r}: start is 'first' or 'new', not {start!r}")
        if type(concurrency) is not int or not 1 <= concurrency <= limits.WINDOW or not timeout > 0:
            raise Misconfigured(f"handler {name!r}: concurrency is 1 to {limits.WINDOW}, timeout more than 0 seconds")
        if page is not None and (type(page) is not int or not 1 <= page <= limits.HANDLER_PAGE_MAX):
            raise Misconfigured(f"handler {name!r}: page is 1 to {limits.HANDLER_PAGE_MAX:,} events")
        self.function, self.key, self.on, self.retry = function, key, on, retry or Backoff()
        self.page, self.breaker = page, breaker
        self.timeout, self.concurrency, self.after_dead, self.start = timeout, concurrency, after_dead, start

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Handler({self.name!r})"


def handler(
    name: str,
    *,
    key: Callable[[Any], str] | None = None,
    on: Any = None,
    retry: Backoff | None = None,
    timeout: float = limits.HANDLER_TIMEOUT,
    concurrency: int = limits.CONCURRENCY,
    after_dead: str = "wait",
    start: str = "first",
    page: int | None = None,
    breaker: Breaker | None = _BREAKER,
) -> Callable[[F], Handler[F]]:
    """Declare a handler: `async def f(event, ctx)`, or a plain `def`, which runs in a thread; `ctx` may be left out.

    It answers None (done), one `Send` or a list of them (done, and these commands follow), `Retry`, `Skip` or
    `DeadLetter`. An exception, or running longer than `timeout` seconds, is a failed attempt: it is retried as `retry`
    says, then kept as a dead letter. A thread cannot be stopped: a plain function that times out runs on in the
    background while the retry starts.

    Events of one key are handled in order, those of different keys at the same time, `concurrency` keys at once. The
    key is the stream's key, or what `key(event)` returns. While an event waits for its retry, later events of its key
    wait; behind a dead letter they wait too, or go on, as `after_dead` says. `start` is where a handler that never ran
    begins: at the "first" event of the log, or at what is "new".

    A handler that takes `list[E]` or `list[Recorded[E]]` gets pages: what is ready at the moment, at most `page` events
    (100 where it does not say), of one tenant and of one key or many, those of a key in order. It answers None (all
    done), or a list with one answer as above for each event. Behind an event that failed, the answers for later ones of
    its key are not taken: they come again. A page that fails as a whole counts for no event: it is halved until the one
    that fails stands alone. `concurrency` is then how many pages at once.

    While `breaker` is open, because many keys failed, events wait and no attempt is counted; None switches it off.
    """
    if callable(name):
        raise Misconfigured("write @handler('name') above the function: its name is missing")

    def decorate(function: F) -> Handler[F]:
        return Handler(
            name,
            function,
            key=key,
            on=on,
            retry=retry,
            timeout=timeout,
            concurrency=concurrency,
            after_dead=after_dead,
            start=start,
            page=page,
            breaker=breaker,
        )

    return decorate
