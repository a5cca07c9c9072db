"""POSIX access control lists as the kernel keeps them in extended attributes: the users and groups they name.

Their names are what counts on another machine, as with owners, so the numbers are translated. The format is that of
linux/posix_acl_xattr.h: a version, then entries of (tag, permissions, user or group), little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

from xget_lib.manifest.entry import Look

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
ACLS = (ACCESS, DEFAULT)

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP_OBJ, _GROUP = 0x02, 0x04, 0x08  # linux/posix_acl.h


def _entries(value: bytes) -> Iterator[tuple[int, int, int]]:
    """(tag, permissions, number) of each entry; none where the value is not what is known here."""
    if value[:4] == _VERSION and len(value) % _ENTRY.size == 4:
        yield from _ENTRY.iter_unpack(value[4:])


def named(value: bytes) -> tuple[set[int], set[int]]:
    """The users and groups that have entries of their own."""
    entries = list(_entries(value))
    users = {number for tag, _, number in entries if tag == _USER}
    return users, {number for tag, _, number in entries if tag == _GROUP}


def owners(looks: Iterable[Look]) -> tuple[set[int], set[int]]:
    """The users and groups that own anything, or that a list names."""
    users: set[int] = set()
    groups: set[int] = set()
    for look in looks:
        users.add(look.uid)
        groups.add(look.gid)
        for name, value in look.xattrs:
            if name in ACLS:
                more = named(value)
                users |= more[0]
                groups |= more[1]
    return users, groups


def translated(value: bytes, user: Callable[[int], int], group: Callable[[int], int]) -> bytes:
    """The same for the numbers that users and groups have here; entries in the order that the kernel has them in."""
    here = {_USER: user, _GROUP: group}
    entries = [(tag, here[tag](number) if tag in here else number, may) for tag, may, number in _entries(value)]
    if [(tag, may, number) for tag, number, may in entries] == list(_entries(value)):
        return value
    return _VERSION + b"".join(_ENTRY.pack(tag, may, number) for tag, number, may in sorted(entries))


def group_permissions(value: bytes) -> int:
    """What the owning group may do, 0 to 7. Where there is a list, the mode shows the most that anybody named may."""
    return next((permissions & 7 for tag, permissions, _ in _entries(value) if tag == _GROUP_OBJ), 0)
