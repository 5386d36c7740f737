"""This process's own monotonic clock."""

import asyncio


def monotonic() -> float:
    """Seconds of the event loop's clock, which no clock that is set moves, and which a simulation stands in for."""
    return asyncio.get_running_loop().time()
