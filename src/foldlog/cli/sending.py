"""`foldlog send`."""

import asyncio
import sys
from typing import Any

import click

from foldlog.app import App
from foldlog.cli.output import Output, to_json
from foldlog.cli.target import OnTarget, find, json_option, tenant_option, url_option
from foldlog.errors import Invalid, TooLarge
from foldlog.limits import EVENT_BYTES
from foldlog.model.decider import Decider
from foldlog.model.event import stored
from foldlog.model.finding import counted
from foldlog.model.message import Receipt
from foldlog.model.principal import Principal


@click.command(cls=OnTarget)
@click.argument("app")
@click.argument("decider")
@click.argument("key")
@click.argument("command")
@click.argument("fields", metavar="JSON|-")
@click.option("--command-id", default="", metavar="ID", help="The same id a second time does nothing again.")
@tenant_option
@click.option("--actor", default="", metavar="NAME", help="Who asks; stored with every event.")
@url_option
@json_option
def send(app: str, decider: str, key: str, command: str, fields: str, machine: bool, url: str, **origin: str) -> None:
    """Send one COMMAND, by its stored name, to the entity KEY of DECIDER, by its category.

    JSON holds the command's fields, {} where it has none; `-` reads it from standard input. It is read strictly:
    unknown fields, duplicate keys and wrong types are refused. When the command returns, what follows from it is stored
    durably. A decider's no is exit code 3, with the decider's own code, message and data on standard error.

    Examples:
      foldlog send bank.py account 17 account.open '{"owner": "Ann"}'
      foldlog send bank.py account 17 account.deposit '{"amount": 5}' --command-id d-1
      echo '{"amount": 5}' | foldlog send bank.py account 17 account.deposit - --json
    """
    known = find(app, url).known_app()
    body = _from_input() if fields == "-" else fields.encode("utf-8", "surrogateescape")
    receipt = asyncio.run(_send(known, (decider, key, command), body, origin))
    output = Output(machine)
    if machine:
        output.json(
            {
                "stream": receipt.stream,
                "version": receipt.version,
                "position": receipt.position,
                "events": [{"type": _name(event), "data": event} for event in receipt.events],
                "tenant": receipt.tenant,
                "command_id": receipt.command_id,
                "repeated": receipt.repeated,
            }
        )
        return
    done = "done before: " if receipt.repeated else ""
    output.say(f"{done}{receipt.stream} is at version {receipt.version}, {counted(len(receipt.events), 'event')}")
    for event in receipt.events:
        output.say(f"  {_name(event)} {to_json(event)}")


async def _send(app: App, address: tuple[str, str, str], body: bytes, origin: dict[str, str]) -> Receipt:
    category, key, name = address
    deciders: dict[str, Decider[Any, Any, Any]] = {
        part.category: part for part in app.parts if isinstance(part, Decider)
    }
    if category not in deciders:
        raise Invalid(f"unknown decider {category!r}; known: {', '.join(sorted(deciders)) or 'none'}")
    async with app.open(functions=False):
        command = app.system.schemas.command_from_outside(name, body)
        return await app.send(
            deciders[category],
            key,
            command,
            command_id=origin["command_id"],
            tenant=origin["tenant"],
            principal=Principal(origin["actor"]),
        )


def _from_input() -> bytes:
    body = sys.stdin.buffer.read(EVENT_BYTES + 1)
    if len(body) > EVENT_BYTES:
        raise TooLarge(f"standard input has more than {EVENT_BYTES:,} bytes")
    return body


def _name(event: object) -> str:
    mark = stored(type(event))
    return mark.name if mark else type(event).__name__
