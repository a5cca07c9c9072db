"""The sockets by which processes of this machine find each other, in directories that nobody else can write to.

    root            /run/xget
    other users     xget in $XDG_RUNTIME_DIR, or in /run/user/UID
    services        $RUNTIME_DIRECTORY, if that is one in /run/xget: systemd makes it for a user who is not root
    else            /tmp/xget-UID, as in containers and early in a boot
    else            /tmp/xget-UID-RANDOM: another user can make the directory above first, but cannot make this one

The first that can be used is taken, those of services first. A directory is used only if it belongs to this user and
nobody else may write in it: any user could give an abstract socket any name, or make a directory in /tmp. Clients look
in all of them, and in that of root. Only root can have made a directory in /run/xget, so root trusts the user to whom
one belongs for what listens there. A process that listens has its name in all directories of its user: they differ
between a login and cron, and from one day to the next.

Only the user who listens, and root, can connect: others could fill the backlog. So that others know what is there, a
process leaves a note beside its socket, which everybody may read. Each side also asks the kernel who the other is
(`is_trusted`).

A socket belongs to one network namespace, as the ports do that one asks for with it; its name contains the number of
the namespace. A process that was killed leaves its socket behind. The next one that listens removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import struct
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from xget_lib.dataclass import dataclass
from xget_lib.errors import Failed
from xget_lib.fs.lock_file import lock_now

ROOTS = "/run/xget"
_USERS = "/run/user"
_SHARED = "/tmp"
_LOCK = ".lock"
"""After the name of a socket: a file that is locked as long as the process that listens lives."""
_NOTE = ".note"
"""After the name of a socket: a file with what others may know of the process."""
NOTE_LIMIT = 1024
"""Bytes."""
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

    @property
    def directory(self) -> str:
        """Where its name is."""
        return os.path.dirname(self._path)

    def give_to(self, uid: int) -> None:
        """Lets another user connect too. To be called before this process becomes that user. Raises OSError."""
        os.chown(self._path, uid, -1, follow_symlinks=False)

    def set_note(self, note: bytes) -> None:
        """Lets everybody know something else. Raises OSError."""
        _write_note(self._path + _NOTE, note)

    def close(self) -> None:
        """Stops listening, and removes the name. To be called once. Raises nothing."""
        self.sock.close()
        _remove(self._path, self._lock)


def listen(name: str, note: bytes = b"") -> Listening | None:
    """Listens under a name. `note`: what everybody may know (`places`). Returns None if another process of this user
    listens under it.

    Raises Failed if there is no directory for it.
    """
    assert len(note) <= NOTE_LIMIT
    own = _own_directories()
    if any(_is_taken(_path(directory, name)) for directory in own if _is_private(directory)):
        return None
    reasons = []
    for directory in (*own, f"{_shared_directory()}-{os.urandom(8).hex()}"):
        try:
            _prepare(directory)
            _remove_unused(directory)
            return _listen_at(_path(directory, name), note)
        except OSError as error:
            reasons.append(f"{directory}: {error.strerror or error}")
    raise Failed("no directory for the sockets of servers", "; ".join(reasons))


def _listen_at(path: str, note: bytes) -> Listening | None:
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
        os.chmod(path, 0o600)  # to connect, one must be allowed to write (unix(7))
        sock.listen()
        if note:
            _write_note(path + _NOTE, note)
    except OSError:
        sock.close()
        _remove(path, lock)
        raise
    return Listening(sock, path, lock)


def _write_note(path: str, note: bytes) -> None:
    """Whoever reads it finds the former one, or all of this one."""
    new = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(new, flags, 0o644), "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(note)
    os.rename(new, path)


def connect(name: str, seconds: float) -> socket.socket:
    """A connection to who listens under a name. Each later call on it may take as long.

    Raises FileNotFoundError if nobody listens, PermissionError if that is neither this user nor root, and OSError.
    """
    problem: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in _known_directories():
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(seconds)
        try:
            _connect(sock, _path(directory, name), seconds)
            if is_trusted(sock) or _is_of_service(sock, directory):
                return sock
            problem = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            problem = error
        sock.close()
    raise problem


def _connect(sock: socket.socket, path: str, seconds: float) -> None:
    """As sock.connect. A full backlog, EAGAIN in unix(7), is tried again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_BUSY_PAUSE)


@dataclass(frozen=True)
class Place:
    """Where another process listens."""

    path: str
    name: str
    uid: int
    """The user in whose directory that is."""
    note: bytes
    """What the process lets everybody know (`listen`)."""

    def connect(self, seconds: float) -> socket.socket:
        """A connection to the process. Each later call on it may take as long. Raises OSError; PermissionError if this
        user may not connect, or the process is another user's."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            _connect(sock, self.path, seconds)
            if _user_of(sock) not in (0, os.geteuid(), self.uid):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        except OSError:
            sock.close()
            raise
        return sock


def places(prefix: str) -> Iterator[Place]:
    """Where processes of this user and of root listen in this network namespace, under names that begin so; for root,
    those of all users. A process of another user's may have been killed meanwhile. Raises nothing.

    Root does not believe what others write into their directories: a name there leads at most to one of their
    processes, and it never waits.
    """
    others = _directories_of_others() if os.geteuid() == 0 else ()
    for directory in dict.fromkeys((*_known_directories(), *_service_directories(), *others)):
        with suppress(OSError):
            uid = os.lstat(directory).st_uid
            for name in sorted(os.listdir(directory)):
                namespace, _, rest = name.removesuffix(_NOTE).partition("-")
                path = f"{directory}/{name.removesuffix(_NOTE)}"
                is_meant = name.endswith(_NOTE) and rest.startswith(prefix) and _may_be_here(namespace)
                if is_meant and _is_locked(path):
                    with suppress(OSError):
                        yield Place(path, rest, uid, _read_note(path + _NOTE))


def _read_note(path: str) -> bytes:
    # What belongs to another user may be a FIFO by now.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return file.read(NOTE_LIMIT)


def _directories_of_others() -> Iterator[str]:
    """Those of users who are not root, where the kernel says that the directory is theirs."""
    for parent, form in ((_USERS, r"(\d+)"), (_SHARED, r"xget-(\d+)(?:-[0-9a-f]+)?")):
        with suppress(OSError):
            for name in sorted(os.listdir(parent)):
                found = re.fullmatch(form, name)
                directory = f"{parent}/{name}" + ("/xget" if parent == _USERS else "")
                with suppress(OSError):
                    if found:
                        _check(directory, (int(found[1]),))
                        yield directory


def _is_of_service(sock: socket.socket, directory: str) -> bool:
    """Whether the process at the other end runs as the user to whom root has given the directory of its name."""
    if directory not in _service_directories():
        return False
    return _user_of(sock) == os.lstat(directory).st_uid


def is_trusted(sock: socket.socket) -> bool:
    """Whether the process at the other end runs as the same user, or as root (SO_PEERCRED in unix(7))."""
    return _user_of(sock) in (0, os.geteuid())


def _user_of(sock: socket.socket) -> int:
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def _own_directories() -> list[str]:
    """Those of this user, the best first. They need not exist, and may be another user's."""
    user = os.geteuid()
    if user == 0:
        own = [ROOTS]
    else:
        given = os.environ.get("XDG_RUNTIME_DIR")
        of_service = [each for each in os.environ.get("RUNTIME_DIRECTORY", "").split(":") if _is_in_roots(each)]
        own = [*of_service, *(f"{parent}/xget" for parent in dict.fromkeys((given, f"{_USERS}/{user}")) if parent)]
    shared = _shared_directory()
    with suppress(OSError), os.scandir(_SHARED) as entries:
        random = [each.path for each in entries if each.path.startswith(f"{shared}-") and _is_private(each.path)]
        return [*own, shared, *sorted(random)]
    return [*own, shared]


def _is_in_roots(directory: str) -> bool:
    return os.path.dirname(directory) == ROOTS


def _service_directories() -> list[str]:
    """Those that root has made for services in its own, in which only their user can write. They may be gone soon."""
    found = []
    with suppress(OSError):
        _check(ROOTS, (0,))
        for name in sorted(os.listdir(ROOTS)):
            directory = f"{ROOTS}/{name}"
            with suppress(OSError):
                _check(directory, (os.lstat(directory).st_uid,))
                found.append(directory)
    return found


def _shared_directory() -> str:
    return f"{_SHARED}/xget-{os.geteuid()}"


def _known_directories() -> Iterator[str]:
    """Those of this user and of root that exist, and in which nobody else can write. For root those of services too."""
    yield from filter(_is_private, dict.fromkeys((*_own_directories(), ROOTS)))
    for directory in _service_directories():
        if os.geteuid() == 0 or _is_private(directory):
            yield directory


def _is_private(directory: str) -> bool:
    """Whether a directory is this user's, or root's, and nobody else may write in it."""
    with suppress(OSError):
        _check(directory, (0, os.geteuid()))
        return True
    return False


def _path(directory: str, name: str) -> str:
    return f"{directory}/{_in_this_namespace(name)}"


def _in_this_namespace(name: str) -> str:
    """A name with the number of the network namespace before it."""
    return f"{_namespace():x}-{name}"


def _namespace() -> int:
    """The number of the network namespace; 0 where there is no /proc."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/net").st_ino
    return 0


def _may_be_here(namespace: str) -> bool:
    """Whether who has such a name may be in this network namespace: one of the two may have no /proc."""
    return "0" in (namespace, own := f"{_namespace():x}") or namespace == own


def _prepare(directory: str) -> None:
    """Makes a directory, unless it is there. Raises OSError if others may write in it."""
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
        if directory == ROOTS:
            os.chmod(directory, 0o755)
    _check(directory, (os.geteuid(),))
    if len(directory) > _LONGEST_PATH // 2:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _check(directory: str, owners: Collection[int]) -> None:
    """Raises OSError unless it is a directory of one of these owners, and nobody else may write in it."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if status.st_uid not in owners or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, "belongs to another user, or others may write in it (remove it)")


def _is_taken(path: str) -> bool:
    """Whether a process listens at a path. Raises nothing."""
    deadline = time.monotonic() + _TIMEOUT
    while _is_locked(path):  # by `_remove_unused` in another process for a moment
        if time.monotonic() > deadline:
            return True
        time.sleep(_BUSY_PAUSE)
    return False


def _is_locked(path: str) -> bool:
    """Whether the name of a socket is locked. So it seems where this user may not know. Raises nothing."""
    try:
        lock = os.open(path + _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.errno == errno.EACCES
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _lock(path: str) -> int | None:
    """Locks the name of a socket for this process. Returns a descriptor, or None where another process has it.

    The kernel unlocks it when the process ends, however it ends. Raises OSError.
    """
    return lock_now(path + _LOCK)


def _remove(path: str, lock: int) -> None:
    """Removes a name that is locked, then unlocks it: in this order, so that no name of another process is removed."""
    for each in (path, path + _NOTE, path + _LOCK):
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
