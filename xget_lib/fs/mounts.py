"""Which kind of file system something is on, and whether other machines can change what is there."""

from __future__ import annotations

import os

_MOUNTS = "/proc/self/mountinfo"
_SHARED = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
)
"""Of which a change made elsewhere is no event here."""


def shared(device: int) -> str | None:
    """The kind of the file system with this device number (st_dev), if other machines may change it; else None.

    proc(5) says what a line of mountinfo is. A kind that is not known, or no /proc: taken to be this machine's own.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                about, _, rest = line.partition(" - ")
                if about.split(" ")[2] == number:
                    kind = rest.split(" ")[0]
                    return kind if kind in _SHARED or kind.startswith("fuse") else None
    except (OSError, IndexError):
        pass
    return None
