"""One of several processes that share four functions: `python -m benchmarks.postgres.worker URL`."""

import asyncio
import sys

from benchmarks.ours import order
from benchmarks.ours_rows import totals_named
from foldlog import App

FUNCTIONS = [totals_named(f"totals{number}") for number in range(4)]

if __name__ == "__main__":
    asyncio.run(App(sys.argv[1], [order, *FUNCTIONS]).serve(lambda: print("ready", flush=True)))
