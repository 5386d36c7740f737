"""What comes by npm, fetched once into a folder of its own outside this one; without node a side is left out."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

PATIENCE = 60  # seconds
WANTED = {
    "@eventide/message-db": "1.3.1",
    "@event-driven-io/emmett-postgresql": "0.42.0",
    "@event-driven-io/emmett": "0.42.0",
    "@event-driven-io/pongo": "0.16.11",
}


WANTED_AT_ALL = True


@cache
def fetched() -> Path | None:
    """The folder that holds `node_modules`; None where it is not wanted, npm or node is not there, or nothing could be
    fetched."""
    if not WANTED_AT_ALL or not shutil.which("npm") or not shutil.which("node"):
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foldlog-benchmarks"
    base.mkdir(parents=True, exist_ok=True)
    wanted = json.dumps({"private": True, "dependencies": WANTED}, indent=1)
    manifest, done = base / "package.json", base / "fetched"
    if done.exists() and done.read_text() == wanted:
        return base
    manifest.write_text(wanted)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        subprocess.run(install, cwd=base, capture_output=True, check=True, timeout=PATIENCE)
    except subprocess.SubprocessError:
        return None
    done.write_text(wanted)
    return base
