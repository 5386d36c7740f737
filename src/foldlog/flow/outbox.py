"""A command that a handler answered with, sent from its row: the row goes in the commit that holds what it led to."""

from foldlog.errors import Conflict, Corrupt, Refused, Undecodable
from foldlog.flow import inbox
from foldlog.flow.attempt import Outcome
from foldlog.flow.execute import Execute, Origin
from foldlog.flow.inbox import INBOX, Item, told
from foldlog.model.message import Send, event_id
from foldlog.model.principal import Principal
from foldlog.model.schema import Schemas
from foldlog.ports.store import Delete, Store


async def send(store: Store, schemas: Schemas, execute: Execute, item: Item) -> Outcome | None:
    """Send an item's command once, whoever else tries: what came of it, or None when its row has changed and it is to
    be tried again. Errors: `Conflict` when another owner has written the row, `Corrupt`."""
    command = item.command
    if command is None:
        raise AssertionError("only items with a command are sent")
    try:
        value = schemas.decode_command(command.name, command.version, bytes(command.body))
        await execute.send(
            Send(command.decider, command.key, value), _origin(item), (Delete(INBOX, item.row_key, item.row),)
        )
    except Conflict as conflict:
        if not conflict.row.endswith(item.row_key.key):
            return Outcome(error=str(conflict))
        row = (await store.get(INBOX, [item.row_key])).get(item.row_key)
        if row is not None:
            if inbox.decode(row).status != inbox.READY:
                raise  # another owner has written it: the lease is lost
            item.row = row.version
            return None
    except Refused as refused:
        error = f"the command was refused: {refused.code}: {refused.message}"
        return Outcome(error=told(error), never=True)
    except Exception as error:
        if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
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
