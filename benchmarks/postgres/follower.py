"""Folds what others append, in a process of its own: `python -m benchmarks.postgres.follower SIDE PLACE`.

It says "ready"; the peer and the raw limit then say, after each commit, the time. `time.perf_counter` counts from the
same moment in all processes of a machine.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable

import msgspec

from benchmarks.ours import LineAdded, order
from benchmarks.ours_rows import Total, totals
from benchmarks.postgres import library
from benchmarks.postgres.bare import Bare
from benchmarks.postgres.projecting import CHECKPOINT, fold
from foldlog import App


def _say(text: str) -> None:
    print(text, flush=True)


def ours(place: str) -> None:
    app = App(place, [order, totals])
    asyncio.run(app.serve(lambda: _say("ready")))


class _Rows(library.Rows):
    name = "rows"

    def folded(self) -> None:
        _say(repr(time.perf_counter()))


def peer(place: str) -> None:
    with library.start(json.loads(place), _Rows) as running:
        _say("ready")
        sys.stdin.read()
        running.stop()


def bare(place: str) -> None:
    decode, encode = msgspec.json.Decoder(LineAdded).decode, msgspec.json.Encoder().encode
    upsert = "INSERT INTO totals VALUES (%b, %b) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    with Bare(place) as following:
        conn, seen = following.conn, 0
        held: dict[str, Total] = {}
        conn.execute("LISTEN appended", prepare=False)
        _say("ready")
        while True:
            for _ in conn.notifies(stop_after=1):
                pass
            for page in following.pages(1_000, seen):
                for position, stream, body in page:
                    fold(held, str(stream), decode(body))
                    seen = position
                with conn.pipeline(), conn.transaction():
                    for key in {str(stream) for _, stream, _ in page}:
                        conn.execute(upsert, (key, encode(held[key])))
                    conn.execute(CHECKPOINT, ("totals", seen))
                _say(repr(time.perf_counter()))


SIDES: dict[str, Callable[[str], None]] = {"ours": ours, "peer": peer, "bare": bare}

if __name__ == "__main__":
    SIDES[sys.argv[1]](sys.argv[2])
