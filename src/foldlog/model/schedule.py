"""The schedule: a command that is sent again and again, at fixed times, once over all processes."""

from collections.abc import Callable
from datetime import datetime, timedelta

from foldlog import limits
from foldlog.errors import Invalid, Misconfigured
from foldlog.model.message import Send
from foldlog.model.retry import LONGEST, Backoff
from foldlog.model.stream import check_part, check_tenant


class Schedule:
    """Sends a command every so often, whichever process is there to do it.

    It is due at each multiple of `every` (seconds or a `timedelta`, at least 1 second) since 1970 in UTC, moved by
    `offset`: `every=86_400, offset=3 * 3_600` is three o'clock in the morning, UTC. `send` is the `Send`, or a function
    from the time it is due to one. Times that were missed, because nobody ran, are made up for by one command, for the
    latest of them. A command that is refused is logged, and the next one is sent in its time; one that fails is tried
    again as `retry` says, until the next is due at the latest. Where `every` or `offset` was changed, only times from
    the change on count; while processes with the old and the new ones run, in a deployment, the command is sent at the
    times of both, once for each. A recurring timer of an instance is no schedule: let `react` set the timer again.
    Errors: `Misconfigured`.
    """

    __slots__ = ("every", "name", "offset", "retry", "send", "tenant")

    def __init__(
        self,
        name: str,
        every: float | timedelta,
        send: Send | Callable[[datetime], Send],
        *,
        offset: float | timedelta = 0,
        tenant: str = "",
        retry: Backoff | None = None,
    ) -> None:
        try:
            self.name, self.tenant = check_part(name), check_tenant(tenant)
        except Invalid as error:
            raise Misconfigured(error.message) from error
        self.every, self.offset = _micros(every), _micros(offset)
        if not limits.SCHEDULE * 1e6 <= self.every < LONGEST * 1e6 or not 0 <= self.offset < self.every:
            raise Misconfigured(
                f"schedule {name!r}: every= is seconds from {limits.SCHEDULE:g} to {LONGEST:,.0f}, offset= less than it"
            )
        if not isinstance(send, Send) and not callable(send):
            raise Misconfigured(f"schedule {name!r}: send= is a Send, or a function from the time it is due to one")
        self.send, self.retry = send, retry or Backoff()

    def due(self, now: int) -> int:
        """The last time that it was due, in microseconds since 1970."""
        return (now - self.offset) // self.every * self.every + self.offset

    def __repr__(self) -> str:
        return f"Schedule({self.name!r})"


def _micros(length: float | timedelta) -> int:
    return round((length.total_seconds() if isinstance(length, timedelta) else length) * 1e6)
