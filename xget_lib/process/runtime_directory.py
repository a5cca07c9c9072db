"""The sockets by which processes of this machine find each other, in directories that nobody else can write to.

    root            /run/xget
    other users     xget in $XDG_RUNTIME_DIR, or in /run/user/UID
    else            /tmp/xget-UID, as in containers and early in a boot

The first that can be used is taken. A directory is used only if it belongs to this user and nobody else may write in
it: any user could give an abstract socket any name, or make a directory in /tmp. Clients look in all of them, and in
that of root. Each side also asks the kernel who the other is (`is_trusted`).

A socket belongs to one network namespace, as the ports do that one asks for with it; its name contains the number of
the namespace. A process that was killed leaves its socket behind. The next one that listens removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import time
from contextlib import suppress

from xget_lib.errors import Failed

ROOTS = "/run/xget"
_SHARED = "/tmp"
_LOCK = ".lock"
"""After the name of a socket: a file that is locked as long as the process that listens lives."""
_LONGEST_PATH = 107
"""Bytes of the path of a socket (unix(7))."""
_BUSY_PAUSE = 0.01
"""Seconds before the next try to lock a name, or to connect to a server with a full backlog."""
_TIMEOUT = 0.2
"""Seconds after which a locked name is that of a server, and not of a process that looks whether it is used."""
_CREDENTIALS = struct.Struct("3i")


class Listening:
    """A listening socket of this process, and its name, until `close`."""

    def __init__(self, sock: socket.socket, path: str, lock: int) -> None:
        """`lock`: the descriptor of its locked file."""
        self.sock = sock
        self._path = path
        self._lock = lock

    def close(self) -> None:
        """Stops listening, and removes the name. To be called once. Raises nothing."""
        self.sock.close()
        _remove(self._path, self._lock)


def listen(name: str) -> Listening | None:
    """Listens under a name. Returns None if another process does. Raises Failed if there is no directory for it."""
    reasons = []
    for directory in _own_directories():
        try:
            _prepare(directory)
            _remove_unused(directory)
            return _listen_at(_path(directory, name))
        except OSError as error:
            reasons.append(f"{directory}: {error.strerror or error}")
    raise Failed("no directory for the sockets of servers", "; ".join(reasons))


def _listen_at(path: str) -> Listening | None:
    deadline = time.monotonic() + _TIMEOUT
    while (lock := _lock(path)) is None:  # `_remove_unused` in another process may have it for a moment
        if time.monotonic() > deadline:
            return None
        time.sleep(_BUSY_PAUSE)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
        sock.bind(path)
        os.chmod(path, 0o666)  # who may command is asked of the kernel
        sock.listen()
    except OSError:
        sock.close()
        _remove(path, lock)
        raise
    return Listening(sock, path, lock)


def connect(name: str, seconds: float) -> socket.socket:
    """A connection to who listens under a name. Each later call on it may take as long.

    Raises FileNotFoundError if nobody listens, PermissionError if that is neither this user nor root, and OSError.
    """
    problem: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in dict.fromkeys((*_own_directories(), ROOTS)):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(seconds)
        try:
            _connect(sock, _path(directory, name), seconds)
            if is_trusted(sock):
                return sock
            problem = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            problem = error
        sock.close()
    raise problem


def _connect(sock: socket.socket, path: str, seconds: float) -> None:
    """As sock.connect. A full backlog, EAGAIN in unix(7), is tried again: other users can fill it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_BUSY_PAUSE)


def names(prefix: str) -> list[str]:
    """The names in this network namespace that begin so."""
    start = _in_this_namespace(prefix)
    found: set[str] = set()
    for directory in (*_own_directories(), ROOTS):
        with suppress(OSError):
            inside = [each for each in os.listdir(directory) if each.startswith(start) and not each.endswith(_LOCK)]
            found.update(prefix + each[len(start) :] for each in inside)
    return sorted(found)


def is_trusted(sock: socket.socket) -> bool:
    """Whether the process at the other end runs as the same user, or as root (SO_PEERCRED in unix(7))."""
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in (0, os.geteuid())


def _own_directories() -> list[str]:
    """Those of this user, the best first. They need not exist."""
    user = os.geteuid()
    shared = f"{_SHARED}/xget-{user}"
    if user == 0:
        return [ROOTS, shared]
    given = os.environ.get("XDG_RUNTIME_DIR")
    return [f"{parent}/xget" for parent in dict.fromkeys((given, f"/run/user/{user}")) if parent] + [shared]


def _path(directory: str, name: str) -> str:
    return f"{directory}/{_in_this_namespace(name)}"


def _in_this_namespace(name: str) -> str:
    """A name with the number of the network namespace before it; 0 where there is no /proc."""
    number = 0
    with suppress(OSError):
        number = os.stat("/proc/self/ns/net").st_ino
    return f"{number:x}-{name}"


def _prepare(directory: str) -> None:
    """Makes a directory, unless it is there. Raises OSError if others may write in it."""
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
        if directory == ROOTS:
            os.chmod(directory, 0o755)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "belongs to another user, or others may write in it (remove it)")
    if len(directory) > _LONGEST_PATH // 2:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _lock(path: str) -> int | None:
    """Locks the name of a socket for this process. Returns a descriptor, or None where another process has it.

    The kernel unlocks it when the process ends, however it ends. Raises OSError.
    """
    while True:
        lock = os.open(path + _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.lstat(path + _LOCK)):
                return lock
        except (BlockingIOError, FileNotFoundError) as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                return None
        else:
            os.close(lock)


def _remove(path: str, lock: int) -> None:
    """Removes a name that is locked, then unlocks it: in this order, so that no name of another process is removed."""
    for each in (path, path + _LOCK):
        with suppress(OSError):
            os.unlink(each)
    os.close(lock)


def _remove_unused(directory: str) -> None:
    """Removes the names of processes that were killed. Raises OSError."""
    for name in os.listdir(directory):
        if name.endswith(_LOCK):
            path = f"{directory}/{name.removesuffix(_LOCK)}"
            lock = _lock(path)
            if lock is not None:
                _remove(path, lock)
