"""The events of one handler that are in memory: what was fed and is not finished, within bounds."""

import logging
from collections.abc import Sequence
from typing import Any

from foldlog import limits
from foldlog.flow import inbox
from foldlog.flow.inbox import Item
from foldlog.model.message import Recorded
from foldlog.ports.store import Store

log = logging.getLogger("foldlog.deliver")


class Window:
    """Events by position. What waits long is let go and read again when its time has come."""

    def __init__(self, function: str, store: Store) -> None:
        self._function, self._store = function, store
        self._events: dict[int, Recorded[Any]] = {}
        self._bytes = 0
        self._told = False

    def full(self, opened: int, parked: int) -> bool:
        """Whether no event more is to be read: so many are in flight, so many wait in rows, so many bytes are held."""
        if parked <= limits.PARKED // 2:
            self._told = False
        if parked >= limits.PARKED and not self._told:
            self._told = True
            log.warning(
                "%s reads no further: %d events wait for retries or behind dead letters; replay or discard those",
                self._function,
                parked,
                extra={"function": self._function},
            )
        return parked >= limits.PARKED or opened >= limits.WINDOW or self._bytes >= limits.WINDOW_BYTES

    def hold(self, event: Recorded[Any]) -> None:
        """Keep an event until it is finished."""
        self._events[event.position] = event
        self._bytes += len(event.body)

    def release(self, position: int) -> None:
        """An event is finished, or waits in a row of its own."""
        if (event := self._events.pop(position, None)) is not None:
            self._bytes -= len(event.body)

    def get(self, position: int) -> Recorded[Any] | None:
        """An event, where it is held."""
        return self._events.get(position)

    async def load(self, items: Sequence[Item]) -> list[Recorded[Any]]:
        """The events of some items, or of the first of them where more would fill memory; of one at least."""
        events: list[Recorded[Any]] = []
        room = limits.PAGE_BYTES
        for item in items:
            event = self._events.get(item.position) or await inbox.event(self._store, item)
            room -= len(event.body)
            if events and room < 0:
                break
            events.append(event)
        return events
