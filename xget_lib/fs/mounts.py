"""What is mounted where: tells mounts apart, and file systems that other machines can change."""

from __future__ import annotations

import os
from contextlib import suppress

from xget_lib.fs import syscalls

_MOUNTS = "/proc/self/mountinfo"
_SHARED = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
)


def shared(device: int) -> str | None:
    """The type of the file system with this device number (st_dev) if other machines may change it; else None.

    inotify does not report what other machines change. See proc(5) for mountinfo. An unknown type, or any type where
    there is no /proc, counts as local.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                about, _, rest = line.partition(" - ")
                if about.split(" ")[2] == number:
                    type_ = rest.split(" ")[0]
                    return type_ if type_ in _SHARED or type_.startswith("fuse") else None
    except (OSError, IndexError):
        pass
    return None


def mount_id(descriptor: int) -> int | None:
    """The number of the mount that an open file is on; None where the system does not tell. See proc(5), fdinfo."""
    with suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}", "rb") as facts:
        for line in facts:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    return syscalls.mount_id(descriptor)
