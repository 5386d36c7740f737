"""Who asks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The one on whose behalf a command runs; `actor` is stored with every event. "" is nobody in particular."""

    actor: str = ""
