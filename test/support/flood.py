"""Hostile clients on 127.0.0.2, byte by byte: many connections, which send what they like, and read replies or do not.

Everything goes through one selector, so that thousands of connections are at work at once. The honest client is a
process of its own, so that it does not share a processor with the hostile one more than it has to.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from test.support.plain_client import PlainClient
from test.support.processes import PATIENCE
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Tattach, TMessage, Tversion
from xget_lib.ninep.wire import NOFID, NOTAG

HOSTILE = "127.0.0.2"
ROOT = Path(__file__).parent.parent.parent
_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT of ip(7), which Python 3.11 does not name."""
_QUIET = 0.4
"""Seconds without any progress after which a flood has had its effect."""


def frames(messages: Iterable[TMessage], first_tag: int = 1) -> bytes:
    """Messages as they are sent, with tags from `first_tag` on."""
    return b"".join(encode(tag % NOTAG, message, NINEP2000) for tag, message in enumerate(messages, first_tag))


def hello(aname: str, msize: int = 1 << 20) -> bytes:
    """Tversion, and Tattach of a namespace as fid 0."""
    return encode(NOTAG, Tversion(msize, NINEP2000), NINEP2000) + frames([Tattach(0, NOFID, "mallory", aname)], 0)


class Hostile:
    """Connections from HOSTILE to one port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.connections: list[socket.socket] = []
        self.received: dict[socket.socket, int] = {}
        """Bytes that were read on each."""

    def connect(self, count: int) -> list[socket.socket]:
        """So many connections more, as far as the server lets them in."""
        made = []
        for _ in range(count):
            sock = socket.socket()
            # Neither takes a port from the servers that tests start.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((HOSTILE, 0))
            sock.settimeout(PATIENCE)
            with suppress(OSError):
                sock.connect(("127.0.0.1", self._port))
            sock.setblocking(False)
            made.append(sock)
        self.connections += made
        return made

    def pump(
        self, connections: Iterable[socket.socket], data: bytes, *, read: bool = True, seconds: float = 60
    ) -> None:
        """Send `data` on each of the connections, all at once, and read what comes back if `read`.

        Returns when nothing moves any more, or all were ended, or after so many seconds.
        """
        left = {sock: memoryview(data) for sock in connections}
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for each in left:
                selector.register(each, selectors.EVENT_WRITE | (selectors.EVENT_READ if read else 0))
            while selector.get_map() and time.monotonic() < deadline:
                ready = selector.select(_QUIET)
                if not ready:
                    return
                for key, events in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    sock = key.fileobj
                    try:
                        if events & selectors.EVENT_READ:
                            got = len(sock.recv(1 << 20))
                            self.received[sock] = self.received.get(sock, 0) + got
                            if not got:
                                raise ConnectionResetError
                        if events & selectors.EVENT_WRITE:
                            left[sock] = left[sock][sock.send(left[sock]) :]
                            if not left[sock]:
                                if not read:
                                    selector.unregister(sock)
                                else:
                                    selector.modify(sock, selectors.EVENT_READ)
                    except BlockingIOError:
                        continue
                    except OSError:
                        selector.unregister(sock)

    def close(self) -> None:
        for sock in self.connections:
            sock.close()


class Honest:
    """A client from another host, which connects again and again, attaches, and reads a small file."""

    def __init__(self, port: int) -> None:
        self._port = port

    def rounds(self, count: int) -> list[float]:
        """Seconds of each of so many rounds."""
        return [one_round(self._port) for _ in range(count)]

    @contextmanager
    def meanwhile(self, delays: list[float]) -> Iterator[None]:
        """Rounds go on while the caller does something else, and one after it. Fails if one fails."""
        command = [sys.executable, "-m", "test.support.flood", str(self._port)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            output, _ = process.communicate("", timeout=3 * PATIENCE)
        assert process.returncode == 0
        delays += map(float, output.split())


def one_round(port: int) -> float:
    """Seconds to connect, attach, and read a small file. Raises OSError, NinepError."""
    begun = time.monotonic()
    with PlainClient(port, "files") as client:
        assert client.read_all("top") == b"at the top\n"
    return time.monotonic() - begun


def rounds_until_eof(port: int) -> None:
    """Print the seconds of each round, until stdin ends."""
    ended = False
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], 0.05)[0])
        print(one_round(port))


def resident(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    rounds_until_eof(int(sys.argv[1]))
