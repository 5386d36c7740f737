"""The table for people, and the same as JSON."""

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from os import cpu_count
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Aim, Result

COLUMNS = ("workload", "ours", "peer", "raw", "x peer", "x raw", "aim", "")


def conditions(engine: str, rounds: int, *, quick: bool, file_system: str, sync_micros: float) -> dict[str, Any]:
    """What a reader must know to judge the figures, whatever the engine is."""
    return {
        "engine": engine,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": rounds,
        "quick": quick,
        "python": platform.python_version(),
        "system": platform.system(),
        "processors": cpu_count(),
        "file_system": file_system,
        "sync_micros": round(sync_micros, 1),
        "foldlog": version("foldlog"),
    }


def write_json(path: Path, said: dict[str, Any], results: Sequence[Result]) -> None:
    path.write_text(json.dumps({**said, "results": [_as_json(one) for one in results]}, indent=1) + "\n", "utf-8")


def print_table(said: dict[str, Any], results: Sequence[Result]) -> None:
    """Medians, the smallest and largest figure beside them, and the median of each round's ratio."""
    print(
        f"Python {said['python']}, {said['processors']} processors, {said['file_system']}, a page synced in "
        f"{said['sync_micros']:.0f} µs; {said['rounds']} rounds, interleaved; eventsourcing {said['eventsourcing']}"
    )
    print("; ".join(f"{side}: {settings}" for side, settings in said["durability"].items()))
    if "npm" in said:
        print(f"PostgreSQL {said['postgresql']}, psycopg {said['psycopg']}; npm: {said['npm']}")
    rows = [_cells(one) for one in results]
    if find_spec("rich"):
        _print_rich(rows)
    else:
        _print_plain(rows)
    for workload in dict.fromkeys(one.workload for one in results):
        if workload.note:
            print(f"{workload.name}: {workload.note}")
    for one in {(one.workload.name, one.metric.name): one for one in results}.values():
        chosen = {one.best("ours"), one.best("peer"), one.best("raw")}
        for name in [name for name in one.figures if name not in chosen]:
            print(f"{one.workload.name}, {one.metric.name}, {name}: {_spread(one, name)}")


def _cells(one: Result) -> list[str]:
    sides = [_spread(one, one.best(kind)) for kind in ("ours", "peer", "raw")]
    ratios = [_ratio(one.ratios(kind)) for kind in ("peer", "raw")]
    verdict = one.verdict()
    aim = one.metric.aim.text if one.metric.aim else "shown"
    return [one.metric.title, *sides, *ratios, aim, "" if verdict is None else "pass" if verdict[1] else "SHORT"]


def _spread(one: Result, name: str | None) -> str:
    if name is None:
        return "-"
    figures = one.figures[name]
    return f"{_figure(median(figures))}{one.metric.unit} ({_figure(min(figures))} to {_figure(max(figures))})"


def _figure(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"


def _ratio(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})" if ratios else "-"


def _print_rich(rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich is an extra: the table is printed without it too
    from rich.table import Table  # noqa: PLC0415 - as above

    console = Console()
    if console.width < 160:
        _print_plain(rows)
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[at]) for row in (COLUMNS, *rows)) for at in range(len(COLUMNS))]
    for row in (COLUMNS, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _as_json(one: Result) -> dict[str, Any]:
    aim, verdict = one.metric.aim, one.verdict()
    return {
        "workload": one.workload.name,
        "metric": one.metric.name,
        "title": one.metric.title,
        "unit": one.metric.unit.strip(),
        "note": one.workload.note,
        "sides": {name: _statistics(figures) for name, figures in one.figures.items()},
        "peer_counted": one.best("peer"),
        "ratios": {kind: _statistics(found) for kind in ("peer", "raw") if (found := one.ratios(kind))},
        "aim": None if aim is None else _aim_as_json(aim),
        "figure": None if verdict is None else verdict[0],
        "passed": None if verdict is None else verdict[1],
    }


def _aim_as_json(aim: Aim) -> dict[str, Any]:
    return {"text": aim.text, "bound": aim.bound, "against": aim.against or None, "at_most": aim.most}


def _statistics(figures: Sequence[float]) -> dict[str, Any]:
    return {"median": median(figures), "min": min(figures), "max": max(figures), "rounds": list(figures)}
