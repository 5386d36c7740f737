"""The store that a demonstration runs on."""

from foldlog import App

KINDS = {"memory": "memory", "sqlite": "one SQLite file", "postgresql": "PostgreSQL", "postgres": "PostgreSQL"}


class Taken(Exception):
    """The store holds events already: what the demonstration counts would not be its own."""


def kind(url: str) -> str:
    """What a URL stands for, in words."""
    return KINDS[url.partition(":")[0]]


async def check_empty(app: App) -> None:
    """Look at the store before anything is done there. Errors: `Taken`."""
    async with app.open(functions=False):
        async for event in app.read(limit=1):
            raise Taken(
                f"the store holds events already, {event.stream}@{event.version} first: name a new one, "
                "by another file or by another schema= in the URL"
            )
