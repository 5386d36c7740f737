"""The disk that is measured on: a real one, with the time that it takes for a sync."""

import os
import tempfile
import time
from pathlib import Path
from statistics import median

_NO_DISK = {"tmpfs", "ramfs", "devtmpfs"}
_SYNCS = 200
_PAGE = b"\0" * 4_096


def file_system(folder: Path) -> str:
    """The type of the file system that holds a folder; "unknown" where the system does not say."""
    mounts = Path("/proc/mounts")
    found, longest = "unknown", -1
    for entry in mounts.read_text("utf-8").splitlines() if mounts.exists() else ():
        _, place, kind, *_ = entry.split()
        if folder.resolve().is_relative_to(place) and len(place) >= longest:
            found, longest = kind, len(place)
    return found


def choose(given: Path | None) -> Path:
    """The folder for the databases: the given one, else the temporary one, else this one, as long as it is a disk."""
    candidates = [given] if given else [Path(tempfile.gettempdir()), Path.cwd()]
    for folder in candidates:
        if file_system(folder) not in _NO_DISK:
            return folder
    raise SystemExit(
        "the folder for the databases lies in memory, where a sync costs nothing: name one on a disk (--dir)"
    )


def sync_micros(folder: Path) -> float:
    """What it takes, in the median, to write a page and have it on the disk."""
    path = folder / "sync"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    times = []
    try:
        for number in range(_SYNCS):
            os.pwrite(handle, _PAGE, number % 64 * len(_PAGE))
            begin = time.perf_counter()
            os.fdatasync(handle)
            times.append(time.perf_counter() - begin)
    finally:
        os.close(handle)
        path.unlink()
    return median(times) * 1e6
