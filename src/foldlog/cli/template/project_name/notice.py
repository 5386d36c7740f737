"""A handler: the place for effects, such as mail, HTTP or files. It runs at least once for each event."""

from foldlog import Context, handler
from project_name.task import Finished


@handler("notice")
async def notice(event: Finished, ctx: Context) -> None:
    """Tell the owner. `ctx.id` is the same for each attempt: give it to systems that can refuse a repetition."""
    print(f"to {event.owner}: {event.title!r} is done ({ctx.id})")
