"""One thing in a served directory: what is known of it, and within which bounds.

The bounds are those of Linux where it has any. Who makes entries keeps to them (`scan`), and who reads a stranger's
refuses what does not (`decoding`).
"""

from __future__ import annotations

from dataclasses import dataclass

DIRECTORY, FILE, LINK, HARD_LINK, CHARACTER, BLOCK, FIFO = KINDS = "dflhcbp"
"""The kinds of entries: directory, regular file, symbolic link, further name of an earlier entry, devices, FIFO."""

NAME_LIMIT = 255  # bytes; NAME_MAX of every Linux file system
DIRECTORY_LIMIT = 65279  # bytes of a directory's path; far more than PATH_MAX, as paths are walked by component
PATH_LIMIT = DIRECTORY_LIMIT + 1 + NAME_LIMIT  # bytes
TARGET_LIMIT = 4095  # bytes; PATH_MAX without its NUL
SIZE_LIMIT = 1 << 63  # of a file, and of all content together, exclusive
TIME_LIMIT = 1 << 63  # ns before or since the epoch
ID_LIMIT = (1 << 32) - 1  # exclusive: chown takes it for "leave as it is"
MODE_LIMIT = 0o7777
XATTR_NAME_LIMIT = 255  # bytes; XATTR_NAME_MAX
XATTR_VALUE_LIMIT = 65536  # bytes; XATTR_SIZE_MAX
XATTRS_LIMIT = 1024  # of one entry; XATTR_LIST_MAX lets there be a few more, with names of which nobody makes use

Xattrs = tuple[tuple[bytes, bytes], ...]
"""Extended attributes (xattr(7)): (name with its namespace, value), in the order of their names."""


@dataclass(frozen=True, slots=True)
class Look:
    """What many entries have in common: permission bits, owner, group, extended attributes."""

    mode: int
    uid: int
    gid: int
    xattrs: Xattrs = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, with all that is known of it but its content.

    `size` (bytes) is that of a regular file and 0 for all others. `target` is what a symbolic link says, or for a hard
    link the path of the entry that it is another name of: it has the metadata of that one. `device` is (major, minor)
    of a device.
    """

    path: bytes
    kind: str
    look: Look
    mtime_ns: int
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)

    @property
    def mode(self) -> int:
        """Permission bits."""
        return self.look.mode

    @property
    def uid(self) -> int:
        return self.look.uid

    @property
    def gid(self) -> int:
        return self.look.gid


def joined(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory, both relative to a root, which is b""."""
    return directory + b"/" + name if directory else name
