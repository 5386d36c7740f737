"""The world outside: a payment gateway that is down now and then, and a post office that refuses some addresses.

Both keep what they did under an idempotency key, as real ones do: asked twice for the same thing, they do it once.
"""

from collections import Counter
from decimal import Decimal
from random import Random
from typing import NamedTuple


class GatewayDown(Exception):
    """No answer from the payment gateway."""


class MailRefused(Exception):
    """The post office does not take mail for this address."""


class Answer(NamedTuple):
    reference: str  # empty: declined
    why: str = ""


class Gateway:
    """Down for `down` of all calls, declines `declined` of all payments; drawn from the seed, the order, the attempt.

    So a run is repeatable whatever the order in which calls arrive.
    """

    def __init__(self, seed: int = 1, down: float = 0.1, declined: float = 0.04) -> None:
        self.seed, self.down, self.declined = seed, down, declined
        self.taken: dict[str, Decimal] = {}
        self.returned: dict[str, Decimal] = {}
        self.calls: Counter[str] = Counter()

    async def charge(self, key: str, order: str, amount: Decimal, attempt: int) -> Answer:
        """Take the money once for each key. Errors: `GatewayDown`."""
        self.calls["charge"] += 1
        if Random(f"{self.seed}/{order}/{attempt}").random() < self.down:
            self.calls["down"] += 1
            raise GatewayDown(f"the gateway did not answer for order {order} (attempt {attempt})")
        if Random(f"{self.seed}/{order}").random() < self.declined:
            return Answer("", "the card was declined")
        self.taken[key] = amount
        return Answer(f"pay-{order}")

    async def refund(self, key: str, amount: Decimal) -> None:
        """Give the money back once for each key."""
        self.returned[key] = amount


class PostOffice:
    """Takes mail, but not for the addresses in `refused`."""

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        self.refused = set(refused)
        self.mails: dict[str, tuple[str, str]] = {}
        self.attempts = 0

    async def send(self, key: str, email: str, text: str) -> None:
        """Send a mail once for each key. Errors: `MailRefused`."""
        self.attempts += 1
        if email in self.refused:
            raise MailRefused(f"550 no such mailbox: {email}")
        self.mails[key] = (email, text)

    def repair(self, email: str) -> None:
        """From now on this address takes mail."""
        self.refused.discard(email)
