"""Whether somebody else may change what a path leads to, as sshd asks of keys (StrictModes in sshd_config(5)).

A directory is exposed if another user than root or us owns it, or if its group or all others may write in it: they can
rename what is in it, and put something else in its place. In a sticky directory, such as /tmp, only the owner of a name
can do that; so there it depends on the owner of what is next in the path. At the end of the path it depends on the
owners of all names in it: a new tmpfs is sticky, and nodes without a disk boot into one.
"""

from __future__ import annotations

import os
import stat

from xget_lib.fs.credentials import sees_all_users
from xget_lib.fs.mounts import has_permissions

_LINKS = 40
"""Symbolic links that Linux follows in one path (path_resolution(7))."""
_ROOTS_GROUP = 0
_OVERFLOW_USER = 65534
"""Shown of each user whom a user namespace does not map (user_namespaces(7)), such as the root of the host."""


def exposure(path: bytes) -> tuple[bytes, str] | None:
    """The first directory or link on an absolute path that others may change, and why; None if there is none.

    What does not exist yet, and what is below it, is nobody else's. Raises OSError.
    """
    at, links = b"/", 0
    names = _names(path)
    found = _of_directory(at, is_last=not names)
    while names and found is None:
        name = names.pop(0)
        below = os.path.dirname(at) if name == b".." else os.path.join(at, name)
        try:
            status = os.lstat(below)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if _is_strange(status.st_uid) or links > _LINKS:
                return below, "belongs to another user"
            target = os.readlink(below)
            names[:0] = _names(target)
            at = b"/" if target.startswith(b"/") else at
            continue
        at = below
        found = _of_directory(at, is_last=not names)
    return found


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _of_directory(path: bytes, *, is_last: bool) -> tuple[bytes, str] | None:
    status = os.lstat(path)
    if _is_strange(status.st_uid):
        return path, "belongs to another user"
    if status.st_mode & stat.S_ISVTX and not (is_last and _has_strange_names(path)):
        return None
    why = ""
    if status.st_mode & stat.S_IWOTH:
        why = "can be written by everybody"
    elif status.st_mode & stat.S_IWGRP and status.st_gid != _ROOTS_GROUP:
        why = "can be written by its group"
    return (path, why) if why and has_permissions(status.st_dev) else None


def _has_strange_names(path: bytes) -> bool:
    with os.scandir(path) as names:
        return any(_is_strange(name.stat(follow_symlinks=False).st_uid) for name in names)


def _is_strange(owner: int) -> bool:
    return owner not in (0, os.geteuid()) and not (owner == _OVERFLOW_USER and not sees_all_users())
