"""Owner, permissions, extended attributes and modification time of what is in the destination.

    what                     is set
    owner and group          by root, unless owners are not wanted (-o): by name if this machine has the name,
                             else by number
    permission bits          unless permissions are not wanted (-s); then the umask limits those of new files
    set-user-ID, set-group-ID  only on a file that has the owner or group they were meant for: a copy of a
                             set-user-ID program must not belong to root by accident
    extended attributes      as the table in fs/xattrs.py says
    modification time        always

An access list counts as permissions. If it cannot be set, the mode gives nobody more than the list did.

If the file system or a missing privilege forbids something, that is noted once for each kind, and is no failure.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from xget_lib.download.expected import Expected, Target
from xget_lib.download.local_ids import LocalIds
from xget_lib.fs import xattrs
from xget_lib.fs.credentials import capabilities
from xget_lib.fs.inode import Inode
from xget_lib.manifest import acl
from xget_lib.manifest.entry import DIRECTORY, LINK, TIME_LIMIT, Entry, EntryMetadata, Xattrs
from xget_lib.manifest.manifest import Manifest

_FORBIDDEN = (errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # EINVAL: an id outside the user namespace
_TOO_LARGE = (errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE)  # for the extended attributes of one inode
_XATTR_FORBIDDEN = (*_FORBIDDEN, *_TOO_LARGE, errno.EACCES, errno.ENODATA)

_SET_ID = stat.S_ISUID | stat.S_ISGID


class Metadata:
    """Compares and sets the metadata that the entries of one manifest should have here. Any thread may use it.

    `permissions`: keep permission bits, access lists and capabilities. `owners`: set owner and group; if this
    process is not root, it only notes that it cannot.
    """

    def __init__(
        self, manifest: Manifest, *, permissions: bool, owners: bool, devices: bool = True, set_id: bool = True
    ) -> None:
        """`devices`: whether they are created. `set_id`: whether files get set-id bits and capabilities."""
        self.devices = devices
        self._set_id = set_id
        self._permissions = permissions
        self._owners = owners
        self._user = os.geteuid()
        self._is_root = self._user == 0
        self._umask = umask_of_process()
        self._users = LocalIds(manifest.users, lambda name: pwd.getpwnam(name).pw_uid)
        self._groups = LocalIds(manifest.groups, lambda name: grp.getgrnam(name).gr_gid)
        self._targets: dict[EntryMetadata, Target] = {}
        self._unsupported: set[bytes] = set()  # namespaces, and access lists, that the file system does not take
        self._refused: set[tuple[EntryMetadata, bytes]] = set()  # (wanted, attribute) that could not be set
        self._lock = threading.Lock()
        self._notes: dict[str, str] = {}
        self.limited = False
        """Whether something could not be set as it should be: the next run should know (`last_run`)."""

    @property
    def privileges(self) -> str:
        """What this process may set, and is to set: for comparison with another run."""
        wanted = self._permissions, self._owners, self.devices, self._set_id
        return f"{wanted} {self._user} {capabilities()}"

    @property
    def notes_by_kind(self) -> dict[str, str]:
        """The same notes, for `repeat`."""
        with self._lock:
            return dict(self._notes)

    def repeat(self, kind: str, note: str) -> None:
        """Notes what the last run noted, and what is still so."""
        with self._lock:
            self._notes.setdefault(kind, note)

    @property
    def notes(self) -> list[str]:
        """What could not be preserved: one line for each kind, in order of the first occurrence."""
        with self._lock:
            return list(self._notes.values())

    def note(self, kind: str, line: str) -> None:
        with self._lock:
            self._notes.setdefault(kind, line)

    # What it should be.

    def new_directory_mode(self, entry: Entry) -> int:
        """The mode for mkdir: we can write in the directory, and nobody else has more permissions than in the end."""
        return 0o700 if self._permissions else (self._mode_of(entry.metadata) & 0o777) | 0o700

    def owner(self, wanted: EntryMetadata) -> tuple[int, int]:
        """(user, group) on this machine."""
        return self._target(wanted).owner

    def expected(self, wanted: EntryMetadata) -> Expected | None:
        """For regular files with this metadata; None if that depends on the owner that the file has."""
        target = self._target(wanted)
        owner = target.owner if self._owners and self._is_root else None
        file_mode = self._file_mode(target.mode)
        if owner is None and file_mode & _SET_ID:
            return None
        mode = stat.S_IFREG | file_mode if self._permissions else None
        not_preserved = target.owner if self._owners and not self._is_root else None
        return Expected(mode, owner, target.xattrs, (self._user, target.owner[0]), not_preserved)

    def may_trust_times(self, entry: Entry, status: os.stat_result, inode: Inode) -> bool:
        """Whether the content of a regular file may be accepted by size and time.

        Not if somebody else owns it, or if `apply` would give it set-id bits, capabilities or another owner: whoever
        wrote it would give others a program with these powers.
        """
        target = self._target(entry.metadata)
        if status.st_uid not in (self._user, target.owner[0]):
            return False
        owner = (status.st_uid, status.st_gid)
        if self._owners and self._is_root and owner != target.owner:
            return False
        if self._permissions and self._mode_for(entry, owner) & _SET_ID & ~status.st_mode:
            return False
        wanted = dict(target.xattrs).get(xattrs.CAPABILITY)
        return wanted is None or dict(inode.xattrs()).get(xattrs.CAPABILITY) == wanted

    def gives_powers(self, entry: Entry, status: os.stat_result, inode: Inode) -> bool:
        """Whether `apply` would give a regular file set-id bits, capabilities or somebody's else name.

        Who had the file before may have it open, and write on it when its content has been verified. So root makes a
        new one instead. Any other user can give no more than what is his own.
        """
        if not self._is_root:
            return False
        target = self._target(entry.metadata)
        if self._owners and status.st_uid not in (self._user, target.owner[0]):
            return True
        owner = target.owner if self._owners else (status.st_uid, status.st_gid)
        if self._permissions and self._mode_for(entry, owner) & _SET_ID & ~status.st_mode:
            return True
        wanted = dict(target.xattrs).get(xattrs.CAPABILITY)
        return wanted is not None and dict(inode.xattrs()).get(xattrs.CAPABILITY) != wanted

    def matches(self, entry: Entry, status: os.stat_result, inode: Inode) -> bool:
        """Whether `apply` would change nothing. `status` is the stat of what is at `inode`."""
        if status.st_mtime_ns != entry.mtime_ns:
            return False
        target = self._target(entry.metadata)
        owner = (status.st_uid, status.st_gid)
        if self._owners and self._is_root and owner != target.owner:
            return False
        if self._permissions and entry.kind != LINK and stat.S_IMODE(status.st_mode) != self._mode_for(entry, owner):
            return False
        if self._xattr_changes(inode, target):
            return False
        if self._owners and owner != target.owner:
            self.note_owners()
        return True

    # Setting it.

    def apply(self, inode: Inode, status: os.stat_result, entry: Entry, *, new: bool) -> None:
        """Sets what differs. `status` is the stat of what is at `inode` now; `new` says that XGet made it, so its
        permissions are set even if none are preserved. A symbolic link has no permissions.

        The order matters: chown drops capabilities and set-id bits, and an access list changes the mode.
        """
        chowned = self._set_owner(inode, status, entry.metadata)
        xattrs_changed = self._set_xattrs(inode, status, entry.metadata)
        mode = stat.S_IMODE(status.st_mode)
        if entry.kind != LINK:
            if self._permissions or new:
                mode = self._mode_for(entry, self.owner(entry.metadata) if chowned else (status.st_uid, status.st_gid))
            if xattrs_changed or mode != stat.S_IMODE(status.st_mode) or (chowned and (self._permissions or new)):
                self._attempt("permissions", lambda: inode.chmod(mode))
        time: int | None = entry.mtime_ns
        if status.st_mtime_ns != time and not self._attempt("times", lambda: inode.utime(entry.mtime_ns)):
            time = None
        self.check(inode.status(), mode, time)

    def check(self, status: os.stat_result, mode: int | None, mtime_ns: int | None) -> None:
        """Notes which permission bits and which time, just set (None: any), the file system did not keep."""
        if mode is not None and stat.S_IMODE(status.st_mode) != mode and not stat.S_ISLNK(status.st_mode):
            self.limited = True
            self.note("permissions", "some permissions were not preserved: the file system does not keep them")
        if mtime_ns is not None and status.st_mtime_ns != mtime_ns:
            self.limited = True
            self._note_times()

    def check_times(self, times: Sequence[int], numbers: Iterable[int]) -> None:
        """Notes whether the time of any of these entries was one that a manifest cannot contain. `times`: of all."""
        if not times or (min(times) > -TIME_LIMIT and max(times) < TIME_LIMIT - 1):
            return
        if any(not -TIME_LIMIT < times[number] < TIME_LIMIT - 1 for number in numbers):
            self._note_times()

    def _note_times(self) -> None:
        line = "some modification times were not preserved exactly (the file system rounds or limits them)"
        self.note("precision", line)

    def apply_to_new_file(self, fd: int, wanted: EntryMetadata, mtime_ns: int) -> bool:
        """The fast form of `apply` for a regular file that was just made and has no extended attributes.

        Returns False, and has changed nothing, if the file needs more than its mode and time.
        """
        target = self._target(wanted)
        status = os.fstat(fd)
        if target.xattrs or (status.st_uid, status.st_gid) != target.owner:
            return False
        mode = self._file_mode(target.mode)
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
        return True

    # Owner and mode.

    def _target(self, wanted: EntryMetadata) -> Target:
        target = self._targets.get(wanted)
        if target is None:
            owner = self._users[wanted.uid], self._groups[wanted.gid]
            target = self._targets[wanted] = Target(owner, self._mode_of(wanted), self._xattrs_of(wanted))
        return target

    def _mode_of(self, wanted: EntryMetadata) -> int:
        mode = wanted.mode
        access = dict(wanted.xattrs).get(acl.ACCESS)
        if access is not None and not (self._sets_xattr(acl.ACCESS) and (wanted, acl.ACCESS) not in self._refused):
            # With a list, the group bits of a mode are the most that any user or group it names may do.
            mode &= ~0o070 | acl.group_permissions(access) << 3
        return mode if self._permissions else mode & 0o777 & ~self._umask

    def _file_mode(self, mode: int) -> int:
        """Without set-id bits where these are not wanted. Those of a directory give nobody powers."""
        if self._set_id or not mode & _SET_ID:
            return mode
        self._note_powers()
        return mode & ~_SET_ID

    def _note_powers(self) -> None:
        self.note("powers", "set-id bits and capabilities were not set (--no-set-id, -s or -o)")

    def _mode_for(self, entry: Entry, owner: tuple[int, int]) -> int:
        """The permission bits for an entry that belongs to this user and group."""
        target = self._target(entry.metadata)
        mode = target.mode if entry.kind == DIRECTORY else self._file_mode(target.mode)
        if mode & _SET_ID and entry.kind != DIRECTORY:
            if owner[0] != target.owner[0]:
                mode &= ~stat.S_ISUID
            if owner[1] != target.owner[1]:
                mode &= ~stat.S_ISGID
            if mode != target.mode:
                self.note(
                    "set-id",
                    "set-user-ID and set-group-ID bits were not preserved (the owner could not be set)",
                )
        return mode

    def _set_owner(self, inode: Inode, status: os.stat_result, wanted: EntryMetadata) -> bool:
        """Returns whether it changed the owner."""
        if not self._owners or (status.st_uid, status.st_gid) == (owner := self.owner(wanted)):
            return False
        if not self._is_root:
            self.note_owners()
            return False
        return self._attempt("owners", lambda: inode.chown(*owner))

    def note_copies(self, why: str) -> None:
        """Names of a file are files of their own here."""
        self.limited = True
        self.note("links", f"some hard links were created as copies: {why}")

    def note_owners(self) -> None:
        """Something belongs to another user or group than it should, as this process is not root's."""
        self.note("owners", "owners and groups were not preserved (only root can set them)")

    # Extended attributes.

    def _sets_xattr(self, name: bytes) -> bool:
        """Whether this process sets an attribute of this name if the manifest has it, and otherwise removes it."""
        if xattrs.kind_of(name) in self._unsupported:
            return False
        allowed = self._is_root or not xattrs.needs_root(name)
        return allowed and (self._permissions or not xattrs.is_permission(name))

    def _xattrs_of(self, wanted: EntryMetadata) -> Xattrs:
        found = []
        for name, value in wanted.xattrs:
            if (wanted, name) in self._refused:
                continue
            if name == xattrs.CAPABILITY and not self._set_id:
                if self._permissions:
                    self._note_powers()
                continue
            if self._sets_xattr(name):
                if name in acl.ACLS:
                    value = acl.translated(value, self._users.__getitem__, self._groups.__getitem__)
                found.append((name, value))
            elif not self._is_root and xattrs.needs_root(name):
                self.note(
                    "xattrs of root", "capabilities and other attributes were not preserved (only root can set them)"
                )
        return tuple(found)

    def _xattr_changes(self, inode: Inode, target: Target) -> dict[bytes, bytes | None]:
        """By name: the value to set, or None for an attribute to remove."""
        there = inode.xattrs()
        if there == target.xattrs:
            return {}
        present = {name: value for name, value in there if self._sets_xattr(name)}
        wanted = {name: value for name, value in target.xattrs if self._sets_xattr(name)}
        changes: dict[bytes, bytes | None] = {n: value for n, value in wanted.items() if present.get(n) != value}
        changes.update((name, None) for name in present if name not in wanted and name != xattrs.SELINUX)
        return changes

    def _set_xattrs(self, inode: Inode, status: os.stat_result, wanted: EntryMetadata) -> bool:
        """Returns whether it changed anything; the mode may have changed with it."""
        target = self._target(wanted)
        changes = self._xattr_changes(inode, target)
        if not changes:
            return False
        if not target.mode & status.st_mode & stat.S_IRUSR:
            self.limited = True  # without read permission, an owner cannot compare them in the next run
        if not self._is_root and not status.st_mode & stat.S_IWUSR and not stat.S_ISLNK(status.st_mode):
            self._attempt("permissions", lambda: inode.chmod(stat.S_IMODE(status.st_mode) | stat.S_IWUSR))
        for name, value in changes.items():
            self._change_xattr(inode, wanted, name, value)
        return True

    def _change_xattr(self, inode: Inode, wanted: EntryMetadata, name: bytes, value: bytes | None) -> None:
        try:
            if value is None:
                inode.removexattr(name)
            else:
                inode.setxattr(name, value)
        except OSError as error:
            if error.errno not in _XATTR_FORBIDDEN:
                raise
            if error.errno == errno.EOPNOTSUPP:
                self._unsupported.add(xattrs.kind_of(name))
            self._refused.add((wanted, name))
            self.limited = True
            self._targets.clear()  # they no longer hold what was refused
            is_list = name in acl.ACLS
            what = "access lists" if is_list else f"extended attributes ({os.fsdecode(xattrs.kind_of(name))})"
            self.note(what, f"some {what} were not preserved: {error.strerror}")

    def _attempt(self, what: str, change: Callable[[], None]) -> bool:
        """Makes a change that the system may forbid. Returns whether it was made."""
        try:
            change()
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
            self.limited = True
            self.note(what, f"some {what} were not preserved: {error.strerror}")
            return False
        return True


def umask_of_process() -> int:
    """The umask. Since Linux 4.7 it is read from /proc; before, it is changed for a moment, which other threads see."""
    with suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
