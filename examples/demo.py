"""`python -m examples.demo`: the shop on generated traffic. `python -m examples.demo DATA`: the real purchase orders.

Exit codes: 0 all counts agree, 1 some do not, 2 the data cannot be read, 130 interrupted.
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, help="the purchase-order log (.jsonl.gz), or the folder it is in")
    parser.add_argument("--orders", type=positive, help="how many (default: 3000 of the shop, all of the log)")
    parser.add_argument("--seed", type=int, default=1, help="of the shop's traffic (default: 1)")
    options = parser.parse_args(arguments)
    # Failed attempts and dead letters are part of the show; the report tells of them.
    logging.getLogger("foldlog").setLevel(logging.CRITICAL)
    try:
        with TemporaryDirectory(prefix="foldlog-demo-") as folder:
            if options.data is None:
                good = asyncio.run(shop(Path(folder), options.orders or 3_000, options.seed))
            else:
                good = asyncio.run(purchase_orders(Path(folder), options.data, options.orders))
    except Unreadable as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; nothing is left behind", file=sys.stderr)
        return 130
    return 0 if good else 1


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
