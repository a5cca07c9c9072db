"""A relay in front of a server, to stop time in the midst of a download, or to lie.

It passes on what client and server say. On each connection it stops after so many bytes from the server (`hold_after`)
until `open` is called: the download then is half done for as long as a test wants, whatever the machine's speed. What
is small (news, manifests) passes. `hold` begins to do so later. `alter` may change what the server says, length for
length.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from test.support.processes import PATIENCE

MIB = 1 << 20


class Relay:
    """Listens on `port` from the start on; `close` ends all connections."""

    def __init__(
        self,
        server_port: int,
        *,
        hold_after: int | None = None,
        alter: Callable[[bytes], bytes] = lambda data: data,
        host: str = "127.0.0.1",
        listen: str | None = None,
    ) -> None:
        """`host` is the server's. It listens on the same address, if `listen` does not say another."""
        self._server = (host, server_port)
        self._hold_after = hold_after
        self._begun = 0  # how often it was told to hold
        self._alter = alter
        self._holding = threading.Event()
        self._opened = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._listening = socket.create_server((listen or host, 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def wait_until_it_holds(self) -> None:
        """Until a connection has had all that it gets for now."""
        assert self._holding.wait(PATIENCE), "nothing was held back"

    @property
    def holds(self) -> bool:
        """Whether a connection has had all that it gets for now."""
        return self._holding.is_set()

    def hold_no_more(self) -> None:
        """What is held back stays so; new connections pass, as when one of several servers is stopped."""
        self._hold_after = None

    def hold(self, after: int = 0) -> None:
        """From now on stop after so many bytes from the server, on each connection."""
        self._holding.clear()
        self._opened.clear()
        self._hold_after = after
        self._begun += 1

    def open(self) -> None:
        """From now on everything passes."""
        self._opened.set()

    def close(self) -> None:
        """Nobody reaches the server through here any more."""
        self._listening.close()
        with suppress(OSError):  # accept() notices a close only when somebody comes
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self.cut()
        self._opened.set()

    def cut(self) -> None:
        """End the connections there are; who comes again is let through."""
        sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server, timeout=PATIENCE)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._sockets |= {client, server}
            for way in ((client, server, False, bytes), (server, client, True, self._alter)):
                threading.Thread(target=self._pass_on, args=way, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, from_server: bool, alter: Callable[[bytes], bytes]
    ) -> None:
        passed = begun = 0
        with suppress(OSError):
            while data := source.recv(65536):
                if begun != self._begun:
                    passed, begun = 0, self._begun
                passed += len(data)
                hold_after = self._hold_after if from_server else None
                if hold_after is not None and passed > hold_after and not self._opened.is_set():
                    self._holding.set()
                    self._opened.wait()
                sink.sendall(alter(data))
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
