"""What a customer was told about one order."""

from collections.abc import Sequence
from enum import Enum

from foldlog import Decider, command, event


class News(Enum):
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


@event("notification.sent")
class Sent:
    news: News
    email: str


@command("notification.record")
class RecordSent:
    news: News
    email: str


def decide(command: RecordSent, sent: bool) -> Sequence[Sent]:
    return [] if sent else [Sent(command.news, command.email)]


def evolve(sent: bool, event: Sent) -> bool:
    return True


notification = Decider("notification", decide, evolve, initial=False)
