"""Opens a store in a new process, commits one command and says so: `python -m benchmarks.first SIDE PATH KEY`.

It imports no more than the side needs that it is asked for.
"""

import sys
from importlib import import_module
from typing import Any


def ours(path: str, key: str) -> None:
    asyncio: Any = import_module("asyncio")
    side: Any = import_module("benchmarks.ours")
    app = side.App(f"sqlite:{path}", [side.order])

    async def work() -> None:
        async with app:
            await app.send(side.order, key, side.AddLine(*side.line(1)))
            print("committed", flush=True)

    asyncio.run(work())


def peer(path: str, _key: str) -> None:
    side: Any = import_module("benchmarks.peer")
    shop = side.Shop(env=side.environment(path))
    order = side.Order()
    order.add(*side.line(1))
    shop.save(order)
    print("committed", flush=True)
    shop.close()


if __name__ == "__main__":
    {"ours": ours, "peer": peer}[sys.argv[1]](sys.argv[2], sys.argv[3])
