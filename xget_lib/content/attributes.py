"""Owner, permissions and times of what is put in place.

Owners are set by name where the name exists here, else by number, and only by root. What a file system or the lack
of privilege forbids is noted, once a kind, and fails nothing. A set-id bit is only kept on a file that has the owner
it was meant for: a copy of somebody's set-user-ID program must not become root's.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from xget_lib.content.beneath import Root
from xget_lib.content.entry import Entry
from xget_lib.content.manifest import Manifest

_FORBIDDEN = (errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # EINVAL: an id outside the user namespace


class Place(Protocol):
    """Something whose attributes can be set. Each raises OSError as the system call does."""

    def chown(self, uid: int, gid: int) -> None: ...
    def chmod(self, mode: int) -> None: ...
    def utime(self, mtime_ns: int) -> None: ...


class Opened:
    """A file or directory that is open."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def chown(self, uid: int, gid: int) -> None:
        os.fchown(self._fd, uid, gid)

    def chmod(self, mode: int) -> None:
        os.fchmod(self._fd, mode)

    def utime(self, mtime_ns: int) -> None:
        os.utime(self._fd, ns=(mtime_ns, mtime_ns))


class Named:
    """What has a name below a root: symbolic links, and files that their owner may not open."""

    def __init__(self, root: Root, path: bytes) -> None:
        self._root = root
        self._path = path

    def chown(self, uid: int, gid: int) -> None:
        self._root.chown(self._path, uid, gid)

    def chmod(self, mode: int) -> None:
        self._root.chmod(self._path, mode)

    def utime(self, mtime_ns: int) -> None:
        self._root.utime(self._path, mtime_ns)


def umask_of_process() -> int:
    """The umask, read without changing it under other threads' feet where the kernel shows it (Linux 4.7)."""
    with suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


class Attributes:
    """What the entries of one manifest should look like on this machine. Any thread may ask.

    `permissions`: keep permission bits; else new things get what the umask leaves of them.
    `owners`: set owner and group; has no effect, and is noted, where this process is not root.
    """

    def __init__(self, manifest: Manifest, *, permissions: bool, owners: bool) -> None:
        self._permissions = permissions
        self._umask = umask_of_process()
        self._set_owners = owners and os.geteuid() == 0
        self._note_owners = owners and not self._set_owners
        self._users = _Ids(manifest.users, lambda name: pwd.getpwnam(name).pw_uid)
        self._groups = _Ids(manifest.groups, lambda name: grp.getgrnam(name).gr_gid)
        self._lock = threading.Lock()
        self._notes: dict[str, str] = {}

    @property
    def notes(self) -> list[str]:
        """What could not be preserved: one line a kind, in the order in which it was met."""
        with self._lock:
            return list(self._notes.values())

    def note(self, kind: str, line: str) -> None:
        with self._lock:
            self._notes.setdefault(kind, line)

    def first_mode(self, entry: Entry) -> int:
        """Which permissions a directory is made with, so that we can work in it and nobody can whom it is not for."""
        return 0o700 if self._permissions else (entry.mode & 0o777) | 0o700

    def owner(self, entry: Entry) -> tuple[int, int]:
        """The user and group number on this machine that an entry should have."""
        return self._users[entry.uid], self._groups[entry.gid]

    def settled(self, entry: Entry, status: os.stat_result) -> bool:
        """Whether what is there looks as it should, as far as this process could change it."""
        if status.st_mtime_ns != entry.mtime_ns:
            return False
        if self._set_owners and (status.st_uid, status.st_gid) != self.owner(entry):
            return False
        if stat.S_ISLNK(status.st_mode) or not self._permissions:
            return True
        return stat.S_IMODE(status.st_mode) == self._mode(entry, (status.st_uid, status.st_gid))

    def put(self, place: Place, status: os.stat_result, entry: Entry, *, new: bool) -> None:
        """Gives what is at `place` its owner, then its permissions (chown clears set-id bits), then its time.

        `status` is what it looks like now. `new`: XGet made it, so its permissions are ours to choose also where
        none are preserved. A symbolic link has no permissions.
        """
        chowned = self._chown(place, status, entry)
        if (self._permissions or new) and entry.kind != "l":
            owner = self.owner(entry) if chowned else (status.st_uid, status.st_gid)
            mode = self._mode(entry, owner)
            if chowned or mode != stat.S_IMODE(status.st_mode):
                self._attempt("permissions", lambda: place.chmod(mode))
        if status.st_mtime_ns != entry.mtime_ns:
            self._attempt("times", lambda: place.utime(entry.mtime_ns))

    def _mode(self, entry: Entry, owner: tuple[int, int]) -> int:
        """The permission bits for an entry that belongs to this user and group."""
        if not self._permissions:
            return entry.mode & 0o777 & ~self._umask
        mode = entry.mode
        if entry.kind != "d":
            uid, gid = self.owner(entry)
            if mode & stat.S_ISUID and owner[0] != uid:
                mode &= ~stat.S_ISUID
            if mode & stat.S_ISGID and owner[1] != gid:
                mode &= ~stat.S_ISGID
            if mode != entry.mode:
                self.note("set-id", "set-id bits are left out where the file could not be given its owner")
        return mode

    def _chown(self, place: Place, status: os.stat_result, entry: Entry) -> bool:
        """Sets the owner where that is wanted and needed. Returns whether it did."""
        if (self._set_owners or self._note_owners) and (status.st_uid, status.st_gid) != (owner := self.owner(entry)):
            if self._set_owners:
                return self._attempt("owners", lambda: place.chown(*owner))
            self.note("owners", "owners and groups are not set: only root can")
        return False

    def _attempt(self, what: str, change: Callable[[], None]) -> bool:
        try:
            change()
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
            self.note(what, f"some {what} could not be set here: {error.strerror}")
            return False
        return True


class _Ids(dict[int, int]):
    """Number in the manifest -> number here; looked up by name once."""

    def __init__(self, names: Mapping[int, str], look_up: Callable[[str], int]) -> None:
        super().__init__()
        self._names = names
        self._look_up = look_up

    def __missing__(self, number: int) -> int:
        here = number
        if number in self._names:
            try:
                here = self._look_up(self._names[number])
            except KeyError:
                here = number
        self[number] = here
        return here
