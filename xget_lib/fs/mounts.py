"""What is mounted where: tells mounts apart, and file systems that other machines can change."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

MOUNTS = "/proc/self/mountinfo"
_SHARED = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
)


def shared_type(device: int) -> str | None:
    """The type of the file system with this device number (st_dev) if other machines may change it; else None.

    inotify does not report what other machines change. See proc(5) for mountinfo. An unknown type, or any type where
    there is no /proc, counts as local.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(MOUNTS, encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                about, _, rest = line.partition(" - ")
                if about.split(" ")[2] == number:
                    type_ = rest.split(" ")[0]
                    return type_ if type_ in _SHARED or type_.startswith("fuse") else None
    except (OSError, IndexError):
        pass
    return None


class Mount(NamedTuple):
    """A line of mountinfo, proc(5)."""

    device: bytes
    """The number of the file system: `MAJOR:MINOR`."""
    root: bytes
    """The path in the file system of the directory (or file) that is mounted; it is `/` unless it is a bind mount."""
    point: bytes
    """The path at which it is mounted."""


def mounted() -> list[Mount]:
    """All mounts that this process sees, those that hide others after them. Empty where there is no /proc."""
    try:
        with open(MOUNTS, "rb") as lines:
            fields = [line.split(b" ") for line in lines]
    except OSError:
        return []
    return [Mount(each[2], _unescaped(each[3]), _unescaped(each[4])) for each in fields if len(each) > 4]


def _unescaped(path: bytes) -> bytes:
    """Space, tab, newline and backslash are octal numbers in mountinfo."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)
