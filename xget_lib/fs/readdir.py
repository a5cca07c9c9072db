"""Reads a directory with the kernel's cookies: a cookie is a position from which a listing can continue at any time.

Python's os.scandir has no such positions. With cookies a server keeps only the descriptor of a directory, however large
the directory is, and a client may continue at any position (getdents64(2), readdir(3): d_off).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from xget_lib.fs.syscalls import getdents64

_RECORD = Struct("<QqHB")  # linux_dirent64: d_ino, d_off, d_reclen, d_type, and then the name, which ends with a NUL
_BUFFER_SIZE = 32 * 1024
_COOKIE_LIMIT = 1 << 63


class Listed(NamedTuple):
    """One name in a directory."""

    name: bytes
    inode: int
    type: int
    """d_type of readdir(3); 0 if the file system does not say."""
    cookie: int
    """Where the listing continues after this name."""


def listed(descriptor: int, cookie: int) -> Iterator[Listed]:
    """The names in an open directory after a cookie (0: all of them), "." and ".." too. Raises OSError.

    Reads while it is iterated, at the offset of the descriptor: do not iterate twice over one descriptor at a time.
    """
    if not 0 <= cookie < _COOKIE_LIMIT:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    os.lseek(descriptor, cookie, os.SEEK_SET)
    while data := getdents64(descriptor, _BUFFER_SIZE):
        at = 0
        while at < len(data):
            inode, next_cookie, length, kind = _RECORD.unpack_from(data, at)
            name = data[at + _RECORD.size : at + length]
            yield Listed(name[: name.index(b"\0")], inode, kind, next_cookie)
            at += length
