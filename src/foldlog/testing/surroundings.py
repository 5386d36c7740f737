"""What the kit's `given` puts around a part: a time, a principal, envelopes, and values as they are once stored."""

from dataclasses import dataclass
from typing import Any

from foldlog.errors import Invalid
from foldlog.model.clock import Clock
from foldlog.model.event import stored
from foldlog.model.handler import Context
from foldlog.model.message import Meta, Recorded, encode_meta, to_datetime
from foldlog.model.principal import Principal
from foldlog.model.schema import Schemas
from foldlog.model.stream import stream_of


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a fold sees of the world beside its event: the stream's key, the time, and who asks."""

    key: str
    clock: Clock
    principal: Principal

    def context(self, recorded: Recorded[Any] | None = None, id: str = "") -> Context:
        now = to_datetime(self.clock.now())
        if recorded is not None and recorded.log != "given":  # one with an envelope of its own: `exported`
            meta = recorded.meta
            return Context(now, Principal(meta.actor), meta.correlation, recorded.tenant, recorded, 1, id, 1)
        return Context(now, self.principal, "given", "", recorded, 1, id, 1 if recorded else 0)


class Record:
    """Makes recorded events of plain ones, as a store would, through the part's own schemas."""

    def __init__(self, schemas: Schemas, what: str, category: str, around: Surroundings) -> None:
        self.schemas, self.what, self.around = schemas, what, around
        self.stream = stream_of(category, around.key)
        self._count = 0

    def __call__(self, event: Any) -> Recorded[Any]:
        if isinstance(event, Recorded) and event.type in self.schemas.event_names():
            return event
        mark = stored(type(event))
        if mark is None or mark.kind != "event" or mark.name not in self.schemas.event_names():
            takes = ", ".join(self.schemas.event_names()) or "none"
            raise Invalid(f"{self.what} takes no {named(event)}; its events: {takes}")
        mark, body, again = self.schemas.encode(event)
        self._count += 1
        around, number = self.around, self._count
        category = self.stream.partition("-")[0]
        kind = self.schemas.kind(category, mark.name, mark.version, "json")
        tags = self.schemas.tags(mark, again)
        meta = Meta(f"given-{number}", 0, "given", "", around.principal.actor, tags=tags)
        return Recorded(number, "", self.stream, number, kind, around.clock.now(), encode_meta(meta), body, "given")


def survivor(schemas: Schemas, value: Any) -> Any:
    """The value as it is read after it was stored."""
    return schemas.encode(value)[2]


def named(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__
