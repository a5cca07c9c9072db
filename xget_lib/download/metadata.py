"""Owner, permissions, extended attributes and times of what is put in place.

Owners are set by name where the name exists here, else by number, and only by root. What a file system or the lack
of privilege forbids is noted, once a kind, and fails nothing. A set-id bit is only kept on a file that has the owner
it was meant for: a copy of somebody's set-user-ID program must not become root's. An access list counts as permissions,
and where it cannot be kept, nobody gets more from the mode that is left.
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
from dataclasses import dataclass

from xget_lib.fs import xattrs
from xget_lib.fs.inode import Inode
from xget_lib.manifest import acl
from xget_lib.manifest.entry import DIRECTORY, LINK, Entry, EntryMetadata, Xattrs
from xget_lib.manifest.manifest import Manifest

# EINVAL: an id outside the user namespace.
_FORBIDDEN = (errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE)  # for extended attributes of this size, in one inode


def umask_of_process() -> int:
    """The umask, read without changing it under other threads' feet where the kernel shows it (Linux 4.7)."""
    with suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a look should be on this machine, as far as this process can make it so."""

    owner: tuple[int, int]
    mode: int
    xattrs: Xattrs


@dataclass(frozen=True, slots=True)
class Expected:
    """What a regular file has whose attributes are all as they should be. None: that does not matter."""

    mode: int | None
    """With its type."""
    owner: tuple[int, int] | None
    xattrs: Xattrs

    def fits(self, status: os.stat_result) -> bool:
        """Whether all that a stat shows is so."""
        return (self.mode is None or status.st_mode == self.mode) and (
            self.owner is None or (status.st_uid, status.st_gid) == self.owner
        )


class Attributes:
    """What the entries of one manifest should look like on this machine. Any thread may ask.

    `permissions`: keep permission bits, access lists and capabilities; else new things get what the umask leaves of
    the bits. `owners`: set owner and group; has no effect, and is noted, where this process is not root.
    """

    def __init__(self, manifest: Manifest, *, permissions: bool, owners: bool) -> None:
        self._permissions = permissions
        self._umask = umask_of_process()
        self._root = os.geteuid() == 0
        self._owners = owners
        self._users = _Ids(manifest.users, lambda name: pwd.getpwnam(name).pw_uid)
        self._groups = _Ids(manifest.groups, lambda name: grp.getgrnam(name).gr_gid)
        self._wanted: dict[EntryMetadata, _Wanted] = {}
        self._unsupported: set[bytes] = set()  # namespaces, and lists, that the file system does not take
        self._refused: set[tuple[EntryMetadata, bytes]] = set()  # looks, and which of their attributes could not be set
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
        return 0o700 if self._permissions else (self._base_mode(entry.metadata) & 0o777) | 0o700

    def owner(self, look: EntryMetadata) -> tuple[int, int]:
        """The user and group number on this machine that an entry should have."""
        return self._here(look).owner

    def settled(self, entry: Entry, status: os.stat_result, place: Inode) -> bool:
        """Whether what is there looks as it should, as far as this process could change it."""
        if status.st_mtime_ns != entry.mtime_ns:
            return False
        wanted = self._here(entry.metadata)
        owner = (status.st_uid, status.st_gid)
        if self._owners and self._root and owner != wanted.owner:
            return False
        if self._permissions and entry.kind != LINK and stat.S_IMODE(status.st_mode) != self._mode(entry, owner):
            return False
        return self._differences(place, wanted) == {}

    def expected(self, look: EntryMetadata) -> Expected | None:
        """Of regular files with this look; None where it takes more than their look to say."""
        wanted = self._here(look)
        owner = wanted.owner if self._owners and self._root else None
        if owner is None and wanted.mode & (stat.S_ISUID | stat.S_ISGID):
            return None
        return Expected(stat.S_IFREG | wanted.mode if self._permissions else None, owner, wanted.xattrs)

    def put_new(self, fd: int, look: EntryMetadata, mtime_ns: int) -> bool:
        """As `put`, for a regular file that was just made and has no extended attributes. Returns whether it could."""
        wanted = self._here(look)
        status = os.fstat(fd)
        if wanted.xattrs or (status.st_uid, status.st_gid) != wanted.owner:
            return False
        if stat.S_IMODE(status.st_mode) != wanted.mode:
            os.fchmod(fd, wanted.mode)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
        return True

    def put(self, place: Inode, status: os.stat_result, entry: Entry, *, new: bool) -> None:
        """Gives what is at `place` its owner, its extended attributes (chown drops capabilities), then its permissions
        (of which chown and access lists change some), then its time.

        `status` is what it looks like now. `new`: XGet made it, so its permissions are ours to choose also where
        none are preserved. A symbolic link has no permissions.
        """
        chowned = self._chown(place, status, entry.metadata)
        changed = self._put_xattrs(place, status, entry.metadata)
        if (self._permissions or new) and entry.kind != LINK:
            owner = self.owner(entry.metadata) if chowned else (status.st_uid, status.st_gid)
            mode = self._mode(entry, owner)
            if chowned or changed or mode != stat.S_IMODE(status.st_mode):
                self._attempt("permissions", lambda: place.chmod(mode))
        elif changed and entry.kind != LINK:
            self._attempt("permissions", lambda: place.chmod(stat.S_IMODE(status.st_mode)))
        if status.st_mtime_ns != entry.mtime_ns:
            self._attempt("times", lambda: place.utime(entry.mtime_ns))

    def _here(self, look: EntryMetadata) -> _Wanted:
        wanted = self._wanted.get(look)
        if wanted is None:
            owner = self._users[look.uid], self._groups[look.gid]
            wanted = self._wanted[look] = _Wanted(owner, self._base_mode(look), self._xattrs_here(look))
        return wanted

    def _base_mode(self, look: EntryMetadata) -> int:
        """The permission bits of a look. Of an access list that is not kept, they are what the owning group may."""
        mode = look.mode
        access = dict(look.xattrs).get(acl.ACCESS)
        if access is not None and not (self._deals_with(acl.ACCESS) and (look, acl.ACCESS) not in self._refused):
            mode &= ~0o070 | acl.group_permissions(access) << 3
        return mode if self._permissions else mode & 0o777 & ~self._umask

    def _mode(self, entry: Entry, owner: tuple[int, int]) -> int:
        """The permission bits for an entry that belongs to this user and group."""
        wanted = self._here(entry.metadata)
        mode = wanted.mode
        if mode & (stat.S_ISUID | stat.S_ISGID) and entry.kind != DIRECTORY:
            if owner[0] != wanted.owner[0]:
                mode &= ~stat.S_ISUID
            if owner[1] != wanted.owner[1]:
                mode &= ~stat.S_ISGID
            if mode != wanted.mode:
                self.note("set-id", "set-id bits are left out where the file could not be given its owner")
        return mode

    def _chown(self, place: Inode, status: os.stat_result, look: EntryMetadata) -> bool:
        """Sets the owner where that is wanted and needed. Returns whether it did."""
        if self._owners and (status.st_uid, status.st_gid) != (owner := self.owner(look)):
            if self._root:
                return self._attempt("owners", lambda: place.chown(*owner))
            self.note("owners", "owners and groups are not set: only root can")
        return False

    # Extended attributes.

    def _deals_with(self, name: bytes) -> bool:
        """Whether this process sets an attribute where it should be, and removes it where it should not."""
        if name in self._unsupported or name.partition(b".")[0] in self._unsupported:
            return False
        if name in (*acl.ACLS, xattrs.CAPABILITY) and not self._permissions:
            return False
        return self._root or name in acl.ACLS or name.startswith(xattrs.USER)

    def _xattrs_here(self, look: EntryMetadata) -> Xattrs:
        found = []
        for name, value in look.xattrs:
            if (look, name) in self._refused:
                continue
            if self._deals_with(name):
                if name in acl.ACLS:
                    value = acl.translated(value, self._users.__getitem__, self._groups.__getitem__)
                found.append((name, value))
            elif not self._root and not name.startswith(xattrs.USER) and name not in acl.ACLS:
                self.note("xattrs of root", "capabilities and other attributes that only root can set are left out")
        return tuple(found)

    def _differences(self, place: Inode, wanted: _Wanted) -> dict[bytes, bytes | None]:
        """What would have to be set, and with None what removed, for the attributes to be as they should."""
        there = place.xattrs()
        if there == wanted.xattrs:
            return {}
        mine = {name: value for name, value in there if self._deals_with(name)}
        differences: dict[bytes, bytes | None] = {
            name: value for name, value in wanted.xattrs if mine.get(name) != value and self._deals_with(name)
        }
        should = dict(wanted.xattrs)
        differences.update((name, None) for name in mine if name not in should and name != xattrs.SELINUX)
        return differences

    def _put_xattrs(self, place: Inode, status: os.stat_result, look: EntryMetadata) -> bool:
        """Makes them as they should be. Returns whether that changed anything, the permissions it may be."""
        differences = self._differences(place, self._here(look))
        if not differences:
            return False
        if not self._root and not status.st_mode & stat.S_IWUSR and not stat.S_ISLNK(status.st_mode):
            self._attempt("permissions", lambda: place.chmod(stat.S_IMODE(status.st_mode) | stat.S_IWUSR))
        for name, value in differences.items():
            self._change_xattr(place, look, name, value)
        return True

    def _change_xattr(self, place: Inode, look: EntryMetadata, name: bytes, value: bytes | None) -> None:
        what = "access lists" if name in acl.ACLS else f"extended attributes ({os.fsdecode(name.partition(b'.')[0])})"
        try:
            if value is None:
                place.removexattr(name)
            else:
                place.setxattr(name, value)
        except OSError as error:
            if error.errno not in (*_FORBIDDEN, *_NO_ROOM, errno.EACCES, errno.ENODATA):
                raise
            if error.errno == errno.EOPNOTSUPP:
                self._unsupported.add(name if name in acl.ACLS else name.partition(b".")[0])
            self._refused.add((look, name))
            self._wanted.clear()
            self.note(what, f"some {what} could not be set here: {error.strerror}")

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
