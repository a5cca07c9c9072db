"""Reading a directory with the kernel's own cookies: where a listing can go on, also much later and from elsewhere.

Python's os.scandir has no such places. With them a server keeps nothing of a directory but its descriptor, however
large it is, and a client may come back to any place (getdents64(2), readdir(3): d_off).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

_RECORD = Struct("<QqHB")  # linux_dirent64: d_ino, d_off, d_reclen, d_type, and then the name up to a NUL
_AT_ONCE = 32 * 1024
_COOKIE_LIMIT = 1 << 63

_getdents64 = ctypes.CDLL(None, use_errno=True).getdents64  # glibc 2.30, musl 1.2
_getdents64.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_getdents64.restype = ctypes.c_ssize_t


class Listed(NamedTuple):
    """A name, its inode number, its type as readdir(3) has it (0 where the file system does not say), and the place
    behind it."""

    name: bytes
    inode: int
    type: int
    cookie: int


def listed(descriptor: int, cookie: int) -> Iterator[Listed]:
    """What is in an open directory behind a cookie (0: all of it), "." and ".." too. Raises OSError.

    Lazily, and each time anew: two listings of one descriptor at once get in each other's way.
    """
    if not 0 <= cookie < _COOKIE_LIMIT:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    os.lseek(descriptor, cookie, os.SEEK_SET)
    buffer = ctypes.create_string_buffer(_AT_ONCE)
    while True:
        count = _getdents64(descriptor, buffer, _AT_ONCE)
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        if not count:
            return
        data = buffer.raw[:count]
        at = 0
        while at < count:
            inode, behind, length, kind = _RECORD.unpack_from(data, at)
            name = data[at + _RECORD.size : at + length]
            yield Listed(name[: name.index(b"\0")], inode, kind, behind)
            at += length
