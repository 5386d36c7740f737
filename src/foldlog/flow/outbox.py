"""The outbox: commands that a function answered with, sent from their rows; the commit of each deletes its row.

Where the process asks for it, the same commit records what became of the command: that is how it comes back.
"""

from foldlog.errors import Conflict, Corrupt, Refused, Rejected, Undecodable
from foldlog.flow import inbox
from foldlog.flow.effect import Effect, Outcome
from foldlog.flow.execute import Execute, Origin
from foldlog.flow.inbox import INBOX, Item, told
from foldlog.model.message import Send, event_id
from foldlog.model.principal import Principal
from foldlog.ports.store import Append, Batch, Delete, Row, Store


async def send(store: Store, effect: Effect, execute: Execute, item: Item) -> Outcome | None:
    """Send the command of an outbox row; None where its row was written meanwhile, and it is to be sent again.

    Errors: `Conflict` when another owner has written the row: the lease is lost; `Corrupt`.
    """
    command = item.command
    if command is None:
        raise AssertionError("only items with a command are sent")
    try:
        value = effect.schemas.decode_command(command.name, command.version, bytes(command.body))
        answer = effect.answered(item, None)
        appends = () if answer is None else (answer,)
        row = Delete(INBOX, item.row_key, item.row)
        await execute.send(Send(command.decider, command.key, value), _origin(item), (row,), appends)
    except Conflict as conflict:
        return await _overtaken(store, item, conflict)
    except Refused as refused:
        return await _refused(store, effect, item, refused)
    except Exception as error:
        if isinstance(error, Corrupt) and not isinstance(error, Undecodable):
            raise
        return Outcome(error=f"the command failed\n{told(error)}")
    return Outcome()


async def let_go(store: Store, effect: Effect, item: Item) -> bool:
    """Record that an operator has let a command go, where its process hears of such things; whether it does."""
    if item.command is None:
        return False
    append = effect.answered(item, Rejected("foldlog.discarded", "an operator let the command go"))
    if append is None:
        return False
    try:
        await _record(store, item, append)
    except Conflict:
        if await _row(store, item) is not None:
            raise
    return True


async def _refused(store: Store, effect: Effect, item: Item, refused: Refused) -> Outcome | None:
    insists = item.command is not None and item.command.insist
    why = told(f"the command was refused: {refused.code}: {refused.message}")
    if insists or not isinstance(refused, Rejected):
        return Outcome(error=why, never=not insists)
    try:
        append = effect.answered(item, refused)
        if append is None:
            return Outcome(error=why, never=True)
        await _record(store, item, append)
    except Conflict as conflict:
        return await _overtaken(store, item, conflict)
    except Refused as error:  # what it was refused with cannot be stored
        return Outcome(error=f"{why}\n{told(error)}", never=True)
    return Outcome()


async def _overtaken(store: Store, item: Item, conflict: Conflict) -> Outcome | None:
    if not conflict.row.endswith(item.row_key.key):
        return Outcome(error=str(conflict))
    row = await _row(store, item)
    if row is None:
        return Outcome()  # it was sent, and only the answer was lost
    if inbox.decode(row).status != inbox.READY:
        raise conflict
    item.row = row.version
    return None


async def _record(store: Store, item: Item, append: Append) -> None:
    await store.commit(Batch((append,), (Delete(INBOX, item.row_key, item.row),)))


async def _row(store: Store, item: Item) -> Row | None:
    return (await store.get(INBOX, [item.row_key])).get(item.row_key)


def command_id(item: Item) -> str:
    """The id of the command in an outbox row, from (part, event id, number)."""
    return event_id(item.tenant, item.function, item.event_id, item.index)


def _origin(item: Item) -> Origin:
    return Origin(
        tenant=item.tenant,
        command_id=command_id(item),
        principal=Principal(item.actor),
        correlation=item.correlation,
        causation=item.event_id,
        remember=False,
    )
