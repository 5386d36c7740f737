"""A projection: for each owner the keys and titles of the tasks that are open."""

from foldlog import Recorded, projection
from project_name.task import Added, Finished


def owner_of(event: Added | Finished) -> str:
    return event.owner


@projection("board", key=owner_of)
def board(row: dict[str, str] | None, event: Recorded[Added | Finished]) -> dict[str, str] | None:
    """One row an owner. A fold is pure: it returns a new row and leaves the old one alone; None deletes the row."""
    others = {key: title for key, title in (row or {}).items() if key != event.key}
    match event.data:
        case Added(title):
            return {**others, event.key: title}
        case Finished():
            return others or None
