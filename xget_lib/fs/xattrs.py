"""Extended attributes (xattr(7)): which of them belong to a copy, and reading them.

Copied are `user`, POSIX access lists, and what only root may read or set: `trusted` and `security`, with capabilities.
Not copied are the others of `system`, which file systems compute, and signatures that are valid for one inode only.
"""

from __future__ import annotations

import errno
import os

from xget_lib.manifest.acl import ACLS
from xget_lib.manifest.entry import Xattrs

USER = b"user."
CAPABILITY = b"security.capability"
SELINUX = b"security.selinux"  # with SELinux, the kernel gives one to each new file

_KEPT = (USER, b"trusted.", b"security.", *ACLS)
_NOT_KEPT = (b"security.evm",)
_NONE = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS)  # no such attribute; a file system or kernel without any


def is_kept(name: bytes) -> bool:
    """Whether an attribute belongs to a copy."""
    return name.startswith(_KEPT) and name not in _NOT_KEPT


def read(file: bytes | int) -> Xattrs:
    """The attributes to copy, of an open file or of a path; a symbolic link is not followed. Raises OSError.

    An attribute that this process may not read is left out.
    """
    follow = isinstance(file, int)  # a descriptor: "not following" is an error there
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NONE:
            return ()
        raise
    if not names:
        return ()
    found = []
    for name in sorted(map(os.fsencode, names)):
        if is_kept(name):
            try:
                found.append((name, os.getxattr(file, name, follow_symlinks=follow)))
            except OSError as error:
                if error.errno not in (*_NONE, errno.EPERM, errno.EACCES):
                    raise
    return tuple(found)
