"""`python -m examples.demo`: the shop on generated traffic. `python -m examples.demo DATA`: the real purchase orders.

Both run on a new SQLite file that goes with them; `--url` names another store, new or empty, which stays.
Exit codes: 0 all counts agree, 1 some do not, 2 the data or the store cannot be used, 130 interrupted.
"""

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.purchase_orders.reading import Unreadable
from examples.purchase_orders.tour import tour as purchase_orders
from examples.shop.tour import tour as shop
from examples.store import Taken
from foldlog.errors import Misconfigured, Unavailable


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, help="the purchase-order log (.jsonl.gz), or the folder it is in")
    parser.add_argument("--orders", type=positive, help="how many (default: 3000 of the shop, all of the log)")
    parser.add_argument("--seed", type=int, default=1, help="of the shop's traffic (default: 1)")
    parser.add_argument("--url", default="", help="of the store, new or empty (default: an SQLite file for this run)")
    options = parser.parse_args(arguments)
    # Failed attempts and dead letters are part of the show; the report tells of them.
    logging.getLogger("foldlog").setLevel(logging.CRITICAL)
    try:
        with TemporaryDirectory(prefix="foldlog-demo-") as folder:
            url = options.url or f"sqlite:{folder}/demo.db"
            if options.data is None:
                good = asyncio.run(shop(url, options.orders or 3_000, options.seed))
            else:
                good = asyncio.run(purchase_orders(url, options.data, options.orders))
    except (Unreadable, Taken, Misconfigured, Unavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        left = "the store stays as it is" if options.url else "nothing is left behind"
        print(f"\ninterrupted; {left}", file=sys.stderr)
        return 130
    return 0 if good else 1


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
