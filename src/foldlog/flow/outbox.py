"""The outbox: commands that a handler answered with, sent from their rows; the commit of each deletes its row."""

import logging
import random
from collections.abc import Callable

from foldlog import limits
from foldlog.errors import Conflict, Corrupt, Refused, Unavailable, Undecodable
from foldlog.flow import inbox
from foldlog.flow.attempt import Outcome
from foldlog.flow.execute import Execute, Origin
from foldlog.flow.inbox import INBOX, Item, told
from foldlog.model.message import Send, event_id
from foldlog.model.principal import Principal
from foldlog.model.schema import Schemas
from foldlog.ports.store import Delete, Store

log = logging.getLogger("foldlog.deliver")


class Outbox:
    """Sends the commands that one handler answered with. `now` tells the time by which items are due."""

    def __init__(self, function: str, store: Store, schemas: Schemas, execute: Execute, now: Callable[[], int]) -> None:
        self._function, self._store, self._schemas, self._execute = function, store, schemas, execute
        self._now = now
        self._down = False

    async def send(self, item: Item) -> Outcome | None:
        """Send the command of an outbox row; None where it is to be sent again, at the item's `due` time.

        Errors: `Conflict` when another owner has written the row: the lease is lost; `Corrupt`.
        """
        try:
            outcome = await self._sent(item)
        except Unavailable as error:
            self._postpone(item, error)
            return None
        self._down = False
        return outcome

    def _postpone(self, item: Item, error: Unavailable) -> None:
        """An outage uses up no attempt: the row stays as it is, and its item waits, about twice as long each time."""
        if not self._down:
            self._down = True
            text = "%s: commands wait, the store cannot take them: %s"
            log.warning(text, self._function, error.message, extra={"function": self._function})
        pause = min(limits.IDLE_WAIT, max(error.retry_after, (item.due - item.failed) / 1e6 * 2))
        item.failed = self._now()
        item.due = item.failed + int(random.uniform(0.5, 1.0) * pause * 1e6)

    async def _sent(self, item: Item) -> Outcome | None:
        command = item.command
        if command is None:
            raise AssertionError("only items with a command are sent")
        try:
            value = self._schemas.decode_command(command.name, command.version, bytes(command.body))
            await self._execute.send(
                Send(command.decider, command.key, value), _origin(item), (Delete(INBOX, item.row_key, item.row),)
            )
        except Conflict as conflict:
            if not conflict.row.endswith(item.row_key.key):
                return Outcome(error=str(conflict))
            row = (await self._store.get(INBOX, [item.row_key])).get(item.row_key)
            if row is None:
                return Outcome()  # it was sent, and only the answer was lost
            if inbox.decode(row).status != inbox.READY:
                raise
            item.row = row.version
            return None
        except Refused as refused:
            return Outcome(error=told(f"the command was refused: {refused.code}: {refused.message}"), never=True)
        except Exception as error:
            if isinstance(error, Corrupt | Unavailable) and not isinstance(error, Undecodable):
                raise
            return Outcome(error=f"the command failed\n{told(error)}")
        return Outcome()


def _origin(item: Item) -> Origin:
    return Origin(
        tenant=item.tenant,
        command_id=event_id(item.tenant, item.function, item.event_id, item.index),
        principal=Principal(item.actor),
        correlation=item.correlation,
        causation=item.event_id,
        remember=False,
    )
