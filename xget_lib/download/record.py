"""The file in which a client keeps what it left in a destination (`last_run`), in the cache directory.

One destination directory has one record, whatever path leads to it and whatever was selected: two records would not
know of each other. The name of the record has two parts:

    left-PATH-DIRECTORY     PATH: of the path of the destination, so that old ones can be removed
                            DIRECTORY: of what no other directory has: file system, inode number, time of birth

The encoding is a msgpack array, followed by its BLAKE3. Reading checks everything. A record is replaced in one step, by
one process at a time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from typing import Any

import msgpack
from blake3 import blake3

from xget_lib.dataclass import dataclass, field
from xget_lib.errors import Failed, XGetError, printable
from xget_lib.fs.cache_directory import usual_cache_directory
from xget_lib.fs.rooted import Root
from xget_lib.manifest.manifest import DIGEST_SIZE

CONTENT_SIZE = 16
"""Bytes that identify a content."""
DOUBTED = b"\xff" * CONTENT_SIZE
"""Stands for a content that nobody knows: the file is to be read."""

Left = tuple[bytes, tuple[int, ...]]
"""What an entry should be, and the facts of what was left at its path: none where nothing could be made."""

_HEAD = ["xget-last-run", 2]
_PREFIX, _NEW = b"left-", b".new"
_KEPT = 4
"""Records for different directories that are found at one path, such as disks that are mounted there in turn."""
_LOCK_TRIES, _LOCK_PAUSE = 100, 0.02


@dataclass(frozen=True)
class Known:
    """What was left at some paths, each with its content and its inode, in the same order."""

    keys: array[int] = field(default_factory=lambda: array("I"))
    """The CRC-32 of each path, relative to the destination."""
    contents: bytes = b""
    """CONTENT_SIZE bytes for each."""
    inodes: array[int] = field(default_factory=lambda: array("Q"))

    def items(self) -> Iterator[tuple[int, tuple[bytes, int]]]:
        return zip(self.keys, zip(each_content(self.contents), self.inodes, strict=True), strict=True)

    @classmethod
    def of(cls, items: Mapping[int, tuple[bytes, int]]) -> Known:
        contents = b"".join(content for content, _ in items.values())
        return cls(array("I", items), contents, array("Q", (inode for _, inode in items.values())))

    def doubting(self, keys: Set[int]) -> Known:
        """The same, but nobody knows what is at the paths with these keys."""
        if not keys:
            return self
        contents = bytearray(self.contents)
        for index, key in enumerate(self.keys):
            if key in keys:
                contents[index * CONTENT_SIZE : (index + 1) * CONTENT_SIZE] = DOUBTED
        return Known(self.keys, bytes(contents), self.inodes)


@dataclass(frozen=True)
class Record:
    """What is known of one destination."""

    label: bytes = b""
    """Of the generation and selection that the last run put in place; empty if it did not do all of that."""
    known: Known = field(default_factory=Known)
    """Of what the last run selected."""
    others: Known = field(default_factory=Known)
    """Of what only earlier runs selected. No key is also in `known`."""
    place: list[Any] = field(default_factory=list)
    """Where, and with which privileges, the shortfalls were found."""
    shortfalls: Mapping[bytes, Left] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """On the shortfalls."""


def each_content(contents: bytes) -> Iterator[bytes]:
    return (contents[first : first + CONTENT_SIZE] for first in range(0, len(contents), CONTENT_SIZE))


def record_path(root: Root) -> bytes:
    """Where the record of a destination is, or is to be. Raises OSError."""
    directory = os.fsencode(usual_cache_directory())
    found = root.statx(b"")
    filesystem = root.statvfs().f_fsid or found.device  # a device may get another number at each boot
    identity = hashed(f"{filesystem} {root.lstat(b'').st_ino} {found.birth}".encode())
    known = [name for name in _records(directory) if name.endswith(b"-" + identity)]
    name = known[0] if known else _PREFIX + hashed(os.path.realpath(root.path)) + b"-" + identity
    return os.path.join(directory, name)


def hashed(text: bytes) -> bytes:
    return blake3(text).hexdigest(length=12).encode()


def _records(directory: bytes) -> list[bytes]:
    with suppress(OSError):
        return sorted(name for name in os.listdir(directory) if name.startswith(_PREFIX) and not name.endswith(_NEW))
    return []


def read_record(path: bytes) -> Record:
    """Raises OSError, ValueError, TypeError, and Failed where it belongs to somebody else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise Failed(printable(path), "belongs to another user, or is not a regular file")
        data = file.read()
    encoded, checksum = data[:-DIGEST_SIZE], data[-DIGEST_SIZE:]
    if blake3(encoded).digest() != checksum:
        raise ValueError
    head, label, known, others, place, facts, notes = msgpack.unpackb(encoded)
    if head != _HEAD:
        raise ValueError
    left = {each: (wanted, tuple(numbers)) for each, wanted, numbers in facts}
    return Record(label, _decoded(*known), _decoded(*others), place, left, notes)


def _decoded(keys: bytes, contents: bytes, inodes: bytes) -> Known:
    known = Known(array("I", keys), contents, array("Q", inodes))
    if len(contents) != len(known.keys) * CONTENT_SIZE or len(known.inodes) != len(known.keys):
        raise ValueError
    return known


def write_record(path: bytes, record: Record) -> bool:
    """Replaces a record, durably. Returns False where the old one may be read again, as it could neither be replaced
    nor removed. Raises nothing."""
    try:
        with _alone(path):
            _write(path, record)
    except OSError:
        return _is_unusable(path)
    return True


def change_record(path: bytes, change: Callable[[Record], Record]) -> None:
    """Replaces a record by one that is made from it. Raises nothing; does nothing where there is none of use."""
    with suppress(OSError, ValueError, TypeError, XGetError), _alone(path):
        _write(path, change(read_record(path)))


def _write(path: bytes, record: Record) -> None:
    facts = [[each, wanted, list(facts)] for each, (wanted, facts) in record.shortfalls.items()]
    known, others = ([of.keys.tobytes(), of.contents, of.inodes.tobytes()] for of in (record.known, record.others))
    encoded: bytes = msgpack.packb([_HEAD, record.label, known, others, record.place, facts, dict(record.notes)])
    new = path + _NEW
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(encoded)
            file.write(blake3(encoded).digest())
            file.flush()
            os.fsync(descriptor)
        os.rename(new, path)
    except OSError:
        os.unlink(new)
        raise


@contextmanager
def _alone(path: bytes) -> Iterator[None]:
    """Within it, no other process changes a record in the same directory, which is made. Raises OSError."""
    if not os.path.isabs(path):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for left in reversed(range(_LOCK_TRIES)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(_LOCK_PAUSE)
        yield
        with suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
        _remove_old(path)
    finally:
        os.close(descriptor)


def _remove_old(path: bytes) -> None:
    """Removes the oldest records for directories that were once at the same path."""
    directory, name = os.path.split(path)
    others = [each for each in _records(directory) if each.startswith(name.rpartition(b"-")[0] + b"-") and each != name]
    with suppress(OSError):
        others.sort(key=lambda each: os.stat(os.path.join(directory, each)).st_mtime_ns)
        for each in others[: 1 - _KEPT]:
            os.unlink(os.path.join(directory, each))


def _is_unusable(path: bytes) -> bool:
    """Removes a record. Returns whether there is none to be read any more."""
    with suppress(OSError):
        os.unlink(path)
    try:
        read_record(path)
    except (OSError, ValueError, TypeError, XGetError):
        return True
    return False
