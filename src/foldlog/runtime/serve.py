"""What is set for a process that serves, and stopping it on a signal."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from foldlog import limits


@contextmanager
def until_signal() -> Iterator[asyncio.Event]:
    """An event that SIGTERM or Ctrl-C sets. A second signal does what signals do: it ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal(number: int) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(limits.SWITCH)
    try:
        yield stop
    finally:
        sys.setswitchinterval(interval)
        for number in signals:
            loop.remove_signal_handler(number)
