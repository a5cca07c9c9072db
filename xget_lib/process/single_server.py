"""One child server for each destination: a node that downloads every night must not have more and more servers.

A child has a socket that is named after the destination directory (device and inode, since a path has several
spellings; `runtime_directory`). A client that has updated the files connects, asks the former child to retire with the
line `retire`, and waits until it closes the connection. The child obeys only the same user, or root.

Its note has its process and its port, for `xget.py status`: so a child that is stopped or hangs is known too.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from xget_lib.process import runtime_directory
from xget_lib.process.runtime_directory import Listening, is_trusted

_PREFIX = "child-"
_TIMEOUT = 5.0
"""Seconds that a child has to retire, and a client to ask for it."""
_RETIRE = b"retire\n"


def _name(dest: bytes) -> str:
    status = os.stat(dest)
    return f"{_PREFIX}{status.st_dev:x}-{status.st_ino:x}"


@dataclass(frozen=True)
class LocalChild:
    """A child server of this machine."""

    pid: int
    """As the child itself knows it: it may be in another PID namespace."""
    port: int


def replace_former(dest: bytes, port: int) -> Listening | None:
    """Become the one child for a destination: ask a former one to retire, and wait for its end. `port` is for others.

    Returns what must stay open as long as this process is the child, or None if the former one does not end. Blocks for
    some seconds at most. Raises Failed if there is no directory for the socket, and OSError if the destination is gone.
    """
    name = _name(dest)
    deadline = time.monotonic() + _TIMEOUT
    while True:
        listening = runtime_directory.listen(name, b"%d %d\n" % (os.getpid(), port))
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


def local_children() -> Iterator[LocalChild]:
    """The child servers of this user and of root on this machine. One of root's may have been killed meanwhile."""
    for note in runtime_directory.notes(_PREFIX):
        try:
            pid, port = map(int, note.split())
        except ValueError:
            continue  # it is being written
        yield LocalChild(pid, port)
