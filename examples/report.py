"""Plain printing for the demonstrations: titles, aligned lines, percentiles, and checks that count."""

import sys
import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any


def title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def lines(rows: Iterable[tuple[str, Any]]) -> None:
    """Two columns: what, and the value."""
    for what, value in rows:
        print(f"  {what:<44} {shown(value)}")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as their widest entry; numbers to the right."""
    body = [[shown(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *body]) for column in range(len(head))]
    for row in (list(head), *body):
        cells = (
            f"{cell:<{width}}" if number == 0 else f"{cell:>{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join(cells).rstrip())


def shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)


def quantiles(seconds: Sequence[float]) -> str:
    """The median and the 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    middle, high = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"p50 {middle * 1000:.2f} ms   p99 {high * 1000:.2f} ms   ({len(ordered):,} times)"


class Laps:
    """A stopwatch."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self.last = self.last, time.perf_counter()
        return self.last - before


class Checks:
    """What must be equal. `failed` counts what was not."""

    def __init__(self) -> None:
        self.failed = 0

    def equal(self, what: str, left: Any, right: Any) -> None:
        good = left == right
        self.failed += not good
        print(f"  {'ok ' if good else 'BAD'}  {what}: {shown(left)} {'=' if good else '≠'} {shown(right)}")


def note(text: str) -> None:
    """Say to a person who waits what is going on."""
    print(f"… {text}", file=sys.stderr, flush=True)
