"""Whether other machines can change a file system: inotify does not report such changes."""

from __future__ import annotations

import os

_MOUNTS = "/proc/self/mountinfo"
_SHARED = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
)


def shared_type(device: int) -> str | None:
    """The type of the file system with this device number (st_dev) if other machines may change it; else None.

    See proc(5) for mountinfo. An unknown type, or any type if there is no /proc, counts as local.
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
