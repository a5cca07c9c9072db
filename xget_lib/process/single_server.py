"""One child server for each destination: a node that downloads every night must not have more and more servers.

A child has a socket that is named after the destination directory (device and inode, since a path has several
spellings; `runtime_directory`). A client that has updated the files connects, asks the former child to retire with the
line `retire`, and waits until it closes the connection. The child obeys only the same user, or root.
"""

from __future__ import annotations

import os
import socket
import time

from xget_lib.process import runtime_directory
from xget_lib.process.runtime_directory import Listening, is_trusted

_PREFIX = "child-"
_TIMEOUT = 5.0
"""Seconds that a child has to retire, and a client to ask for it."""
_RETIRE = b"retire\n"


def _name(dest: bytes) -> str:
    status = os.stat(dest)
    return f"{_PREFIX}{status.st_dev:x}-{status.st_ino:x}"


def replace_former(dest: bytes) -> Listening | None:
    """Become the one child for a destination: ask a former one to retire, and wait for its end.

    Returns what must stay open as long as this process is the child, or None if the former one does not end. Blocks for
    some seconds at most. Raises Failed if there is no directory for the socket, and OSError if the destination is gone.
    """
    name = _name(dest)
    deadline = time.monotonic() + _TIMEOUT
    while True:
        listening = runtime_directory.listen(name)
        if listening is not None or time.monotonic() > deadline:
            return listening
        _ask_to_retire(name, deadline)


def _ask_to_retire(name: str, deadline: float) -> None:
    """Return when the child has heard it, or the time is over."""
    try:
        with runtime_directory.connect(name, max(deadline - time.monotonic(), 0.001)) as sock:
            sock.sendall(_RETIRE)
            while sock.recv(64):
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
    except OSError:
        pass  # it ended just now, or hangs; the caller tries again
    time.sleep(0.05)


def answer(accepted: socket.socket) -> bool:
    """A child's side of one conversation. Returns whether it is to retire. Blocks for some seconds at most."""
    try:
        accepted.settimeout(_TIMEOUT)
        return is_trusted(accepted) and accepted.recv(64) == _RETIRE
    except OSError:
        return False
