"""One child server for each destination: a node that downloads every night must not have more and more servers.

A child has a socket that is named after the destination directory (device and inode, since a path has several
spellings; `runtime_directory`). A client that has updated the files connects and asks the former child to retire;
`xget.py status` connects and reads the port. The child obeys only the same user, or root, and waits for nobody else.

A conversation: the child sends `PORT\\n`; the other sends `retire\\n`, or nothing, and closes.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

from xget_lib.process import runtime_directory
from xget_lib.process.runtime_directory import Listening, is_trusted

_PREFIX = "child-"
_TIMEOUT = 5.0
"""Seconds that a child has to send its port, or to retire; of all children together for `local_ports`."""
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


def answer(accepted: socket.socket, port: int) -> bool:
    """A child's side of one conversation. Returns whether it is to retire. Blocks for some seconds at most."""
    try:
        accepted.settimeout(_TIMEOUT)
        accepted.sendall(b"%d\n" % port)
        return is_trusted(accepted) and accepted.recv(64) == _RETIRE
    except OSError:
        return False


def local_ports() -> Iterator[int]:
    """The ports of the child servers of this user and of root on this machine."""
    deadline = time.monotonic() + _TIMEOUT
    for name in runtime_directory.names(_PREFIX):
        try:
            with runtime_directory.connect(name, max(deadline - time.monotonic(), 0.001)) as sock:
                yield int(sock.recv(64))
        except (OSError, ValueError):
            continue  # it has just ended, or hangs
