"""Answers commands from the same machine (`process.control_socket`), in the event loop of a master or a client."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent import Timeout
from gevent import socket as gsocket
from gevent.event import Event

from xget_lib.process import control_socket
from xget_lib.process.runtime_directory import is_trusted
from xget_lib.report.log import LOGGER

Perform = Callable[[Any], Iterator[dict[str, Any]]]
"""Given a command, the lines that answer it: signs of work, then the answer."""

UNKNOWN = {"problem": "unknown command (is this another version of XGet?)"}
_READ_TIMEOUT = 5.0
"""Seconds that the other side has to send its command."""
_ACCEPT_PAUSE = 0.1
"""Seconds to wait before the next try, when a connection cannot be accepted."""


def serve(listening: socket.socket, perform: Perform) -> None:
    """Take commands for ever."""
    with gsocket.socket(fileno=listening.detach()) as accepting:
        while True:
            try:
                accepted, _ = accepting.accept()
            except OSError as error:  # this machine has no descriptor left, or the other process is gone
                LOGGER.debug("command: %s", error)
                gevent.sleep(_ACCEPT_PAUSE)
                continue
            gevent.spawn(_converse, accepted, perform)


def stopping(stop: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """The lines that answer `stop`: the connection ends with the process."""
    stop()
    yield {"stopping": True}
    Event().wait()


def _converse(sock: gsocket.socket, perform: Perform) -> None:
    with sock:
        try:
            if not is_trusted(sock):
                return
            with Timeout(_READ_TIMEOUT):
                command = _read(sock)
            for line in perform(command):
                sock.sendall(json.dumps(line).encode() + b"\n")
        except (OSError, ValueError, Timeout) as error:
            LOGGER.debug("command: %s", error)


def _read(sock: gsocket.socket) -> Any:
    line = b""
    while not line.endswith(b"\n"):
        part = sock.recv(control_socket.LINE_LIMIT)
        line += part
        if not part or len(line) > control_socket.LINE_LIMIT:
            raise ValueError("no command")
    return json.loads(line)
