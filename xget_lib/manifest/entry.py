"""One entry of a served directory, and the limits of its fields.

The limits are those of Linux if it has any. `snapshot.scan` obeys them; `manifest.decoding` refuses what does
not.
"""

from __future__ import annotations

from xget_lib.dataclass import dataclass

DIRECTORY, FILE, LINK, HARD_LINK, CHARACTER, BLOCK, FIFO = KINDS = "dflhcbp"
"""The kinds of entries: directory, regular file, symbolic link, hard link, character device, block device, FIFO.

Of a file with several names only the first in the table has its own kind; the others are hard links to it."""

NAME_LIMIT = 255  # bytes; NAME_MAX of every Linux file system
DIRECTORY_LIMIT = 65279  # bytes of the path of a directory; more than PATH_MAX, as paths are walked by component
DEPTH_LIMIT = 2048  # directories in each other; as many as PATH_MAX allows in a path
PATH_LIMIT = DIRECTORY_LIMIT + 1 + NAME_LIMIT  # bytes
TARGET_LIMIT = 4095  # bytes; PATH_MAX without its NUL
SIZE_LIMIT = 1 << 63  # of a file, and of all content together, exclusive
TIME_LIMIT = 1 << 63  # ns before or since the epoch
ID_LIMIT = (1 << 32) - 1  # exclusive: to chown it means "do not change"
MODE_LIMIT = 0o7777
XATTR_NAME_LIMIT = 255  # bytes; XATTR_NAME_MAX
XATTR_VALUE_LIMIT = 65536  # bytes; XATTR_SIZE_MAX
XATTRS_LIMIT = 1024  # of one entry; XATTR_LIST_MAX allows a few more if their names are very short

Xattrs = tuple[tuple[bytes, bytes], ...]
"""Extended attributes (xattr(7)): (name with its namespace, value), in the order of their names."""


@dataclass(frozen=True, slots=True)
class EntryMetadata:
    """Permission bits, owner, group and extended attributes: many entries have the same, which is stored once."""

    mode: int
    uid: int
    gid: int
    xattrs: Xattrs = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Everything that a manifest says of one entry, except its content."""

    path: bytes
    kind: str
    metadata: EntryMetadata
    """Of a hard link, as its mtime: the same as that of its target."""
    mtime_ns: int
    size: int = 0
    """In bytes; 0 for everything but a regular file."""
    target: bytes = b""
    """The text of a symbolic link; of a hard link, the path of the entry that is the first name of the same file."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device."""

    @property
    def mode(self) -> int:
        """Permission bits."""
        return self.metadata.mode

    @property
    def uid(self) -> int:
        return self.metadata.uid

    @property
    def gid(self) -> int:
        return self.metadata.gid


def joined(directory: bytes, name: bytes) -> bytes:
    """The path of a name in a directory; b"" is the root."""
    return directory + b"/" + name if directory else name


def below(directory: bytes, path: bytes) -> bytes | None:
    """A path relative to a directory: b"" for the directory itself. None for a path that is not in it."""
    if path == directory:
        return b""
    prefix = directory.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether a path is a directory, or below it."""
    return below(directory, path) is not None
