"""POSIX access lists, as the kernel stores them in extended attributes: the user and group IDs in them.

On another machine the same user may have another ID, so the IDs in a list are translated, as the owner of a file is.
The format is that of linux/posix_acl_xattr.h: a version, then entries of (tag, permissions, ID), little-endian. A value
in another format is treated as a list without entries.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import and_

from xget_lib.manifest.entry import EntryMetadata

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
ACLS = (ACCESS, DEFAULT)

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP_OBJ, _GROUP = 0x02, 0x04, 0x08  # linux/posix_acl.h


def _entries(value: bytes) -> Iterator[tuple[int, int, int]]:
    """(tag, permissions, ID) of each entry."""
    if value[:4] == _VERSION and len(value) % _ENTRY.size == 4:
        yield from _ENTRY.iter_unpack(value[4:])


def owner_ids(metadata: Iterable[EntryMetadata]) -> tuple[set[int], set[int]]:
    """The IDs of all users and of all groups that own an entry or are named in an access list."""
    users: set[int] = set()
    groups: set[int] = set()
    for each in metadata:
        users.add(each.uid)
        groups.add(each.gid)
        for name, value in each.xattrs:
            if name in ACLS:
                entries = list(_entries(value))
                users.update(number for tag, _, number in entries if tag == _USER)
                groups.update(number for tag, _, number in entries if tag == _GROUP)
    return users, groups


def translated(value: bytes, user: Callable[[int], int], group: Callable[[int], int]) -> bytes:
    """An access list with other IDs, its entries in the order that the kernel requires."""
    translate = {_USER: user, _GROUP: group}
    entries = [
        (tag, translate[tag](number) if tag in translate else number, may) for tag, may, number in _entries(value)
    ]
    if [(tag, may, number) for tag, number, may in entries] == list(_entries(value)):
        return value
    return _VERSION + b"".join(_ENTRY.pack(tag, may, number) for tag, number, may in sorted(entries))


def group_permissions(value: bytes) -> int:
    """The permissions of the owning group, 0 to 7.

    In the mode of a file with an access list, the bits of the group are the most that any named user or group has.
    """
    return next((permissions & 7 for tag, permissions, _ in _entries(value) if tag == _GROUP_OBJ), 0)


def permissions_of_all(value: bytes) -> int:
    """The permissions, 0 to 7, that each entry of a list has. A user or a group that is named may have fewer than all
    others. 0 for a list in another format."""
    permissions = [may & 7 for _, may, _ in _entries(value)]
    return reduce(and_, permissions) if permissions else 0
