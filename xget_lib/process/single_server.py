"""One child server for each destination: a node that downloads every night must not have more and more servers.

A child holds an abstract UNIX socket that is named after the destination directory (device and inode, since a path has
several spellings). The kernel frees it when the process ends, however it ends, so nothing has to be cleaned up. A
client that has updated the files connects and asks the former child to retire; `xget.py status` connects and reads the
port. The child obeys only the same user, or root (SO_PEERCRED, unix(7)).

A conversation: the child sends `PORT\\n`; the other sends `retire\\n`, or nothing, and closes.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator

from xget_lib.errors import Failed
from xget_lib.process.control_socket import is_trusted

_PREFIX = "xget-child-"
_LISTED = re.compile(rf" @({_PREFIX}\d+-\d+)$", re.MULTILINE)
_SOCKETS = "/proc/net/unix"
_TIMEOUT = 5.0
"""Seconds that a child has to send its port, or to retire."""
_RETIRE = b"retire\n"


def _name(dest: bytes) -> str:
    status = os.stat(dest)
    return f"{_PREFIX}{status.st_dev}-{status.st_ino}"


def replace_former(dest: bytes) -> socket.socket | None:
    """Become the one child for a destination: ask a former one to retire, and wait for its end.

    Returns the listening socket that must stay open as long as this process is the child, or None if the former one
    does not end. Blocks for some seconds at most.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            listening.bind("\0" + _name(dest))
            listening.listen()
            return listening
        except OSError:
            if time.monotonic() > deadline:
                listening.close()
                return None
        _ask_to_retire(_name(dest))


def _ask_to_retire(name: str) -> None:
    """Return when the child is gone, or the time is over."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_TIMEOUT)
        try:
            sock.connect("\0" + name)
            sock.sendall(_RETIRE)
            while sock.recv(64):
                pass
        except OSError:
            # It ended just now, or hangs; the caller tries again.
            time.sleep(0.05)


def answer(accepted: socket.socket, port: int) -> bool:
    """A child's side of one conversation. Returns whether it is to retire. Blocks for some seconds at most."""
    try:
        accepted.settimeout(_TIMEOUT)
        accepted.sendall(b"%d\n" % port)
        if accepted.recv(64) != _RETIRE:
            return False
        return is_trusted(accepted)
    except OSError:
        return False


def local_ports() -> Iterator[int]:
    """The ports of all child servers on this machine. Raises Failed where the system does not tell."""
    try:
        with open(_SOCKETS, encoding="ascii", errors="replace") as listed:
            names = set(_LISTED.findall(listed.read()))
    except OSError as error:
        why = "/proc is not mounted" if isinstance(error, FileNotFoundError) else error.strerror
        raise Failed("cannot find the child servers of this node", f"{why} (name a server with -n and -p)") from None
    for name in sorted(names):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT)
            try:
                sock.connect("\0" + name)
                yield int(sock.recv(64))
            except (OSError, ValueError):
                continue  # it has just ended
