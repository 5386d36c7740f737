"""A line to a server that a test can hold up, listen to or cut: one way, both ways, for what comes next or for good."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class Line:
    """Listens on a port of its own and passes everything on.

    `up` and `down` are open gates for what clients and the server say. While one is closed, what was said stays with
    the line: it is passed on when the gate opens again, if the other side is still there. `renew` gives new
    connections gates of their own and leaves the old ones at theirs.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self.up, self.down = threading.Event(), threading.Event()
        self._gates: list[threading.Event] = []
        self.renew()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self._gates:
            gate.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def renew(self) -> tuple[threading.Event, threading.Event]:
        """The gates of the connections that there are; those to come have open ones."""
        old = self.up, self.down
        self.up, self.down = threading.Event(), threading.Event()
        self._gates += [self.up, self.down]
        for gate in (self.up, self.down):
            gate.set()
        return old

    def cut(self, *, server: bool = True) -> None:
        """End every connection that there is, at the clients' ends, and at the server's too."""
        for client, upstream in self._pairs:
            for one in (client, upstream) if server else (client,):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        if server:
            self._pairs.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    upstream = socket.create_connection(("127.0.0.1", self._server), 5)
                except OSError:
                    client.close()
                    continue
                self._pairs.append((client, upstream))
                for source, sink, gate in ((client, upstream, self.up), (upstream, client, self.down)):
                    self._start(self._pump, source, sink, gate)

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, gate: threading.Event) -> None:
        with suppress(OSError):
            while said := source.recv(65_536):
                gate.wait()
                sink.sendall(said)
        gate.wait()
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        source.close()
