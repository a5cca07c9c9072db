"""Extended attributes (xattr(7)): which of them belong to a copy, reading and setting them.

Those of users, POSIX ACLs, and what only root may read or set: `security`, capabilities among it, and `trusted`. Not
the rest of `system`, which file systems make up, nor signatures that hold for one inode of one machine.
"""

from __future__ import annotations

import errno
import os

from xget_lib.manifest.acl import ACLS
from xget_lib.manifest.entry import Xattrs

USER = b"user."
CAPABILITY = b"security.capability"
SELINUX = b"security.selinux"  # a machine that has it gives each new file one by itself

_KEPT = (USER, b"trusted.", b"security.", *ACLS)
_NOT_KEPT = (b"security.evm",)
NONE = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS)  # this attribute; a file system or kernel without any


def is_kept(name: bytes) -> bool:
    """Whether an attribute belongs to a copy."""
    return name.startswith(_KEPT) and name not in _NOT_KEPT


def read(place: bytes | int) -> Xattrs:
    """What an open file, or a path (the last component of which is not followed), has of attributes that are kept.

    Raises OSError.
    """
    follows = isinstance(place, int)
    try:
        names = os.listxattr(place, follow_symlinks=follows)
    except OSError as error:
        if error.errno in NONE:
            return ()
        raise
    if not names:
        return ()
    found = []
    for name in sorted(map(os.fsencode, names)):
        if is_kept(name):
            try:
                found.append((name, os.getxattr(place, name, follow_symlinks=follows)))
            except OSError as error:
                if error.errno not in (*NONE, errno.EPERM, errno.EACCES):
                    raise
    return tuple(found)
