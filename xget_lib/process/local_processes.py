"""The masters and clients of this machine: each has a socket for commands, and a note beside it that says who it is.

So `xget.py status` and `xget.py stop` find them all: also a client that is still downloading, one of two masters of a
port on different addresses, and a process that is stopped or hangs. They see the processes of this user and of root;
root sees those of all users. Each network namespace has its own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from xget_lib.dataclass import dataclass
from xget_lib.errors import Failed, one_line
from xget_lib.process import control_socket, runtime_directory
from xget_lib.process.control_socket import CONNECT_TIMEOUT, name_of_master
from xget_lib.process.runtime_directory import NOTE_LIMIT, Listening, Place

MASTER = "master"
DOWNLOAD = "download"
"""A client that has not got everything yet."""
CHILD = "child"
FOLLOWER = "follower"
ROLES = (MASTER, DOWNLOAD, CHILD, FOLLOWER)
_CLIENT = "client-"


@dataclass(frozen=True)
class LocalProcess:
    """A process, as its note says."""

    place: Place
    role: str
    """One of ROLES."""
    pid: int
    """As the process itself knows it: it may be in another PID namespace."""
    port: int
    """Where it serves."""
    path: str
    """What it serves, or its destination."""
    master: str
    """From whom a client downloads: host and port; "" for a master."""

    def ask(self, command: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Its answer to a command; None if it ended before. Raises OSError; TimeoutError if it does not answer, and
        PermissionError if this user may not command it."""
        with self.place.connect(min(seconds, CONNECT_TIMEOUT)) as sock:
            return control_socket.ask(sock, command, seconds)

    def stop(self, seconds: float, on_wait: Callable[[], None] = lambda: None) -> bool:
        """Ask it to stop, as SIGTERM does, and wait until it has ended. Returns whether it has, in so many seconds.
        Raises OSError as `ask`."""
        deadline = time.monotonic() + seconds
        with self.place.connect(min(seconds, CONNECT_TIMEOUT)) as sock:
            if control_socket.ask(sock, {"command": "stop"}, seconds) is None:
                return True
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(min(left, 1.0))
                try:
                    if not sock.recv(1):
                        return True
                except TimeoutError:
                    on_wait()
                except ConnectionError:
                    return True
        return False


def listen_as_master(port: int, path: str) -> tuple[Listening, bool]:
    """Where a master takes commands, and whether it is the one of its port: another may serve that on another address,
    and is the one that `control_socket.request` reaches. Raises Failed if there is no directory for it."""
    note = note_of(MASTER, port, path)
    listening = runtime_directory.listen(name_of_master(port), note)
    if listening is not None:
        return listening, True
    return _listen(f"{name_of_master(port)}-{os.getpid()}", note), False


def listen_as_client(port: int, path: str, master: str) -> Listening:
    """Where a client takes commands, from begin to end. Raises Failed if there is no directory for it."""
    return _listen(f"{_CLIENT}{port}-{os.getpid()}", note_of(DOWNLOAD, port, path, master))


def _listen(name: str, note: bytes) -> Listening:
    listening = runtime_directory.listen(name, note)
    if listening is None:
        raise Failed(name, "another process has this name")
    return listening


def note_of(role: str, port: int, path: str, master: str = "") -> bytes:
    """The note of a process. Of a long path it has the end."""
    facts = {"role": role, "pid": os.getpid(), "port": port, "master": master[:256]}
    limit = NOTE_LIMIT - len(json.dumps({**facts, "path": "…"}))
    while len(json.dumps(path)) - 2 > limit:
        path = f"…{path[max(2, len(path) - limit) :]}" if len(path) > limit else f"…{path[2:]}"
    return json.dumps({**facts, "path": path}).encode()


def local_processes() -> Iterator[LocalProcess]:
    """All that run. One of another user's may have been killed meanwhile, and says of itself what it likes."""
    for prefix in ("master-", _CLIENT):
        for place in runtime_directory.places(prefix):
            found = _process(place)
            if found is not None:
                yield found


def _process(place: Place) -> LocalProcess | None:
    """None if its note is none, or of another version."""
    try:
        match json.loads(place.note):
            case {"role": str(role), "pid": int(pid), "port": int(port), "path": str(path), "master": str(master)}:
                return LocalProcess(place, one_line(role), pid, port, one_line(path), one_line(master))
    except (ValueError, RecursionError):
        pass
    return None
