"""What not every user of a machine may read."""

from __future__ import annotations

import os
import stat

from xget_lib.fs.rooted import Root
from xget_lib.fs.xattrs import NO_XATTR
from xget_lib.manifest.acl import ACCESS, permissions_of_all

_NO_LIST = b""


def is_private(status: os.stat_result, access_list: bytes = _NO_LIST) -> bool:
    """Whether some user may not read a file, or may not list or enter a directory, because of its mode or its access
    list (`system.posix_acl_access`; empty: there is none).

    Owner, group and named users count as all others: permissions may leave them out. Other kinds have no content.
    """
    if stat.S_ISDIR(status.st_mode):
        needed = 0o5
    elif stat.S_ISREG(status.st_mode):
        needed = 0o4
    else:
        return False
    mode = status.st_mode
    of_all = mode & mode >> 3 & mode >> 6
    if access_list:
        of_all &= permissions_of_all(access_list)
    return of_all & needed != needed


def is_private_at(root: Root, path: bytes, status: os.stat_result) -> bool:
    """Whether what has this status, and is at this path below `root`, is private. Raises OSError."""
    if is_private(status):
        return True
    if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
        return False
    try:
        return is_private(status, root.xattr(path, ACCESS))
    except OSError as error:
        if error.errno in NO_XATTR:
            return False
        raise
