"""Extended attributes (xattr(7)): reading those that belong to a copy, and who may set which.

A copy has `user`, POSIX access lists, and what only root may read or set: `trusted` and `security`, with capabilities.
It does not have the others of `system`, which file systems compute, and signatures that are valid for one inode only.
"""

from __future__ import annotations

import errno
import os

from xget_lib.manifest.acl import ACCESS, ACLS, DEFAULT
from xget_lib.manifest.entry import Xattrs

USER = b"user."
CAPABILITY = b"security.capability"
SELINUX = b"security.selinux"  # with SELinux, the kernel gives one to each new file

_KEPT = (USER, b"trusted.", b"security.", *ACLS)
_NOT_KEPT = (b"security.evm",)
NO_XATTR = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS)  # no such attribute; a file system or kernel without any

# Prefix of the name; whether only root can set it; whether it counts as permissions. The first that fits decides.
_RULES = (
    (USER, False, False),
    (ACCESS, False, True),
    (DEFAULT, False, True),
    (CAPABILITY, True, True),
    (b"", True, False),  # trusted, and the rest of security
)


def is_kept(name: bytes) -> bool:
    """Whether an attribute belongs to a copy."""
    return name.startswith(_KEPT) and name not in _NOT_KEPT


def read(file: bytes | int, *, follow: bool = False) -> Xattrs:
    """The attributes to copy, of an open file or of a path. Raises OSError.

    `follow`: a symbolic link is followed, as the names in /proc/self/fd are.

    An attribute that this process may not read is left out.
    """
    follow = follow or isinstance(file, int)  # a descriptor: "not following" is an error there
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError as error:
        if error.errno in NO_XATTR:
            return ()
        raise
    if not names:
        return ()
    found = []
    for name in sorted(set(map(os.fsencode, names))):
        if is_kept(name):
            try:
                found.append((name, os.getxattr(file, name, follow_symlinks=follow)))
            except OSError as error:
                if error.errno not in (*NO_XATTR, errno.EPERM, errno.EACCES):
                    raise
    return tuple(found)


def needs_root(name: bytes) -> bool:
    """Whether only root can set this attribute."""
    return next(root for prefix, root, _ in _RULES if name.startswith(prefix))


def is_permission(name: bytes) -> bool:
    """Whether it counts as permissions, as the mode does."""
    return next(permission for prefix, _, permission in _RULES if name.startswith(prefix))


def kind_of(name: bytes) -> bytes:
    """What a file system supports as a whole or not at all: an access list, or a namespace."""
    return name if name in ACLS else name.partition(b".")[0]
