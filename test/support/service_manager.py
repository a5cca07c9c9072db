"""A service manager for one service: a real datagram socket that its messages come to, and the environment for it.

manager = ServiceManager(directory)
cluster.master(source, environment=manager.environment, ...)
manager.until("READY")         the messages up to the first with that line, within a deadline
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from test.support.processes import PATIENCE

_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Message:
    """One datagram. `sender` is a process."""

    sender: int
    lines: dict[str, str]


class ServiceManager:
    """Owned by a test, which closes it."""

    def __init__(self, directory: Path, *, watchdog: float | None = None, abstract: str | None = None) -> None:
        """`watchdog`: seconds. `abstract`: the name of its socket, instead of a file in the directory."""
        address = f"@{abstract}" if abstract else str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{abstract}" if abstract else address)
        self.environment = {"NOTIFY_SOCKET": address}
        if watchdog is not None:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        self.messages: list[Message] = []
        """All that were received."""

    def receive(self, seconds: float = PATIENCE) -> Message:
        """The next message. Fails when none comes."""
        self._socket.settimeout(seconds)
        try:
            data, control, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        except TimeoutError:
            raise AssertionError(f"no message within {seconds} s; before it: {self.messages[-5:]}") from None
        ((_, _, credentials),) = control
        pairs = (line.partition("=") for line in data.decode().split("\n"))
        message = Message(_CREDENTIALS.unpack(credentials)[0], {name: value for name, _, value in pairs})
        self.messages.append(message)
        return message

    def until(self, name: str, *parts: str, seconds: float = PATIENCE) -> list[Message]:
        """The messages up to the first that has a line with this name, and these parts of texts in its value."""
        deadline, received = time.monotonic() + seconds, []
        while True:
            received.append(self.receive(max(0.01, deadline - time.monotonic())))
            value = received[-1].lines.get(name)
            if value is not None and all(part in value for part in parts):
                return received

    def rest(self) -> list[Message]:
        """What has arrived, and was not received yet."""
        received = []
        while True:
            try:
                received.append(self.receive(0.01))
            except AssertionError:
                return received

    def close(self) -> None:
        self._socket.close()


def with_socket(listening: socket.socket) -> list[str]:
    """A command that runs another one with a listening socket, as systemd does. It must be passed on (`pass_fds`)."""
    script = 'exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
    return ["bash", "-c", script, str(listening.fileno())]
