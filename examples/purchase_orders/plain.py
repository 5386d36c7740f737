"""The same figures from one pass over the file: json, gzip and dicts. Nothing of Foldlog, nothing of the example."""

import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path

RECEIVED = {"Record Invoice Receipt", "Record Subsequent Invoice"}
CLOSED = {"Cancel Invoice Receipt", "Cancel Subsequent Invoice", "Clear Invoice"}
DELETED = {"Delete Purchase Order Item", "SRM: Deleted"}


def figures(path: Path, most: int | None = None) -> dict[str, int]:
    """Figures of the first `most` orders, or of all."""
    found: Counter[str] = Counter()
    case = ""
    names: list[str] = []
    times: list[datetime] = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            if line["case"] != case:
                if names:
                    add(found, names, times)
                if found["orders"] == most:
                    return dict(found)
                case, names, times = line["case"], [], []
            names.append(line["activity"])
            times.append(datetime.fromisoformat(line["time"]))
    if names:
        add(found, names, times)
    return dict(found)


def add(found: Counter[str], names: list[str], times: list[datetime]) -> None:
    """Add one order."""
    found["orders"] += 1
    found["events"] += len(names)
    found[f"status: {status(names)}"] += 1
    found["age of all orders, seconds"] += round((times[-1] - times[0]).total_seconds())
    for index in range(1, len(names)):
        step = f"{names[index - 1]} > {names[index]}"
        found[f"times: {step}"] += 1
        found[f"seconds: {step}"] += round((times[index] - times[index - 1]).total_seconds())
    for name in names:
        found[f"activity: {name}"] += 1
    repeats = len(names) - len(set(names))
    found["events that repeat an activity"] += repeats
    found["orders with rework"] += repeats > 0
    balance = sum(name in RECEIVED for name in names) - sum(name in CLOSED for name in names)
    found["open invoices"] += max(balance, 0)
    found["orders with open invoices"] += balance > 0
    found["orders cleared more often than invoiced"] += balance < 0
    for kind in kinds(names):
        found[f"off the path: {kind}"] += 1


def status(names: list[str]) -> str:
    there = set(names)
    last = [name for name in names if name in DELETED or name == "Reactivate Purchase Order Item"]
    if last and last[-1] in DELETED:
        return "deleted"
    if "Clear Invoice" in there:
        return "5 cleared"
    if there & RECEIVED:
        return "4 invoiced"
    if there & {"Record Goods Receipt", "Record Service Entry Sheet"}:
        return "3 delivered"
    return "2 ordered" if "Create Purchase Order Item" in there else "1 requested"


def kinds(names: list[str]) -> set[str]:
    goods = names.index("Record Goods Receipt") if "Record Goods Receipt" in names else len(names)
    found: set[str] = set()
    if "Clear Invoice" in names[:goods]:
        found.add("invoice cleared before any goods receipt")
    if DELETED & set(names):
        found.add("deleted")
    if "Change Price" in names[:goods]:
        found.add("price changed before goods receipt")
    if "Change Price" in names[goods:]:
        found.add("price changed after goods receipt")
    return found
