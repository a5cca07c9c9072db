"""What is mounted where: tells mounts apart, and file systems that other machines can change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from xget_lib.manifest.entry import is_within

MOUNTS = "/proc/self/mountinfo"
_SHARED = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
)


_WITHOUT_PERMISSIONS = ("exfat", "fuseblk", "msdos", "ntfs", "ntfs3", "vfat")
"""File systems whose owners and modes are options of the mount. `fuseblk` is exFAT or NTFS in user space."""


def shared_type(device: int) -> str | None:
    """The type of the file system with this device number (st_dev) if other machines may change it; else None.

    inotify does not report what other machines change. An unknown type, or any type where there is no /proc, counts as
    local.
    """
    found = _of_device(device)
    return found.shared_type if found is not None else None


def has_permissions(device: int) -> bool:
    """Whether the file system with this device number (st_dev) has modes of its own for each file. An unknown type, or
    any type where there is no /proc, counts as one that has."""
    found = _of_device(device)
    return found is None or found.kind not in _WITHOUT_PERMISSIONS


def _of_device(device: int) -> Mount | None:
    number = b"%d:%d" % (os.major(device), os.minor(device))
    return next((mount for mount in mounted() if mount.device == number), None)


class Mount(NamedTuple):
    """A line of mountinfo, proc(5)."""

    device: bytes
    """The number of the file system: `MAJOR:MINOR`."""
    root: bytes
    """The path in the file system of the directory (or file) that is mounted; it is `/` unless it is a bind mount."""
    point: bytes
    """The path at which it is mounted."""
    kind: str = ""
    """The type of the file system."""
    source: bytes = b""
    """The device, or the share of a server: any text where there is neither."""

    @property
    def shared_type(self) -> str | None:
        """The type of the file system if other machines may change it; else None."""
        return self.kind if self.kind in _SHARED or self.kind.startswith("fuse") else None


def mounted() -> list[Mount]:
    """All mounts that this process sees, those that hide others after them. Empty where there is no /proc."""
    found: list[Mount] = []
    try:
        with open(MOUNTS, "rb") as lines:
            for line in lines:
                about, _, rest = line.rstrip(b"\n").partition(b" - ")
                fields, more = about.split(b" "), rest.split(b" ")
                if len(fields) > 4 and len(more) > 1:
                    device, root, point = fields[2:5]
                    kind = more[0].decode(errors="replace")
                    found.append(Mount(device, _unescaped(root), _unescaped(point), kind, _unescaped(more[1])))
    except OSError:
        pass
    return found


def mount_of(path: bytes, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute path without links is on; of several at one point the last hides the others."""
    found = None
    for mount in mounts:
        if is_within(path, mount.point) and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def filesystem_of(mount: Mount) -> bytes:
    """Tells a file system from another one that is mounted at the same point later.

    Device numbers are used again, so the file system itself is asked too (statvfs(3), f_fsid). The same share of a
    server has another number each time.
    """
    if mount.shared_type:
        return mount.source
    try:
        number = os.statvfs(mount.point).f_fsid
    except OSError:
        number = 0
    return mount.device + b" %x" % (number % (1 << 64))


def _unescaped(path: bytes) -> bytes:
    """Space, tab, newline and backslash are octal numbers in mountinfo."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)
