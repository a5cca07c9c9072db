"""What the last run left in a destination, kept in the cache directory. It only saves work, and reading.

    contents    of every file, what content it had. A file of which the manifest has other content now is read, also if
                its size and time are as the manifest says: images are rebuilt with a fixed time
    shortfalls  what is not as the manifest says although the run did all that this destination can: times are rounded,
                everything belongs to one user, there are no links. What is still exactly so needs nothing

A shortfall is compared with the stat of what is there, with its change time, and holds only for the same directory in
the same mount and for the same privileges. Without this file, or after a change, a run compares and tries again.

The encoding is a msgpack array, followed by its BLAKE3. Reading checks everything.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from functools import cached_property
from itertools import compress, count, pairwise
from operator import ne
from typing import Any

import msgpack
from blake3 import blake3

from xget_lib.download.metadata import Metadata
from xget_lib.errors import Failed, PathRefused, XGetError, printable
from xget_lib.fs.cache_directory import usual_cache_directory
from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK
from xget_lib.manifest.manifest import DIGEST_SIZE, Manifest
from xget_lib.manifest.selection import Selection
from xget_lib.snapshot.digest_cache import save

_HEAD = ["xget-last-run", 1]
_GENERATION, _KEYS, _CONTENTS, _FIELDS = 5, 6, 7, 10  # of the array: where these are, and how many values it has
_SPECIAL = LINK + CHARACTER + BLOCK + FIFO
_CONTENT_SIZE = 16  # bytes that identify a content
_DOUBTED = b"\xff" * _CONTENT_SIZE  # nobody knows: it is to be read

Left = tuple[bytes, tuple[int, ...]]
"""What an entry should be, and the facts of what was left at its path: none where nothing could be made."""


class LastRun:
    """What the last run left. It belongs to one download or dry run, which has `manifest` and `selection`."""

    def __init__(
        self,
        manifest: Manifest,
        metadata: Metadata,
        *,
        generation: bytes = b"",
        keys: array[int] | None = None,
        contents: bytes = b"",
        shortfalls: Mapping[bytes, Left] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """`generation`: that it put in place. `keys`: of its files, the checksum of the path. `contents`: what
        identifies the content of each, in the same order. `notes`: on the shortfalls."""
        self._manifest = manifest
        self._metadata = metadata
        self._generation = generation
        self._keys = keys or array("I")
        self._left = contents
        self._shortfalls = shortfalls or {}
        self._notes = notes or {}

    @property
    def is_current(self) -> bool:
        """Whether a run that puts this manifest in place, and meets no limits of the destination, need not save."""
        return self._generation == self._manifest.generation and not self._shortfalls

    def has_changed(self, file: int) -> bool:
        """Whether the last run left other content than the manifest has."""
        return file in self._changed

    @cached_property
    def _changed(self) -> frozenset[int]:
        if self._generation == self._manifest.generation or not self._keys:
            return frozenset()
        if self.keys == self._keys:  # most often; then half a million files take no time
            words = map(ne, array("Q", self.contents), array("Q", self._left))
            return frozenset(word // 2 for word in compress(count(), words))
        known = dict(zip(self._keys, _each(self._left), strict=True))
        files = enumerate(zip(self.keys, _each(self.contents), strict=True))
        return frozenset(file for file, (key, content) in files if known.get(key, content) != content)

    @cached_property
    def keys(self) -> array[int]:
        """By file number: the checksum of its path in the manifest."""
        return array("I", map(self._manifest.entries.path_checksums.__getitem__, self._manifest.entries.files))

    @cached_property
    def contents(self) -> bytes:
        """What identifies the content of each file of the manifest, by file number."""
        return contents_of(self._manifest)

    def is_as_left(self, entry: int, path: bytes, status: os.stat_result | None) -> bool:
        """Whether there is at `path` what the last run left there, as near to this entry as it could."""
        left = self._shortfalls.get(path)
        if left is None or left != (_wanted(self._manifest, self._metadata, entry), _facts(status)):
            return False
        self._metadata.limited = True
        for kind, note in self._notes.items():
            self._metadata.repeat(kind, note)
        return True


def contents_of(manifest: Manifest) -> bytes:
    """_CONTENT_SIZE bytes a file, by file number, that identify its content."""
    digests, extents = manifest.digests, manifest.entries.extents
    return b"".join(
        digests[first * DIGEST_SIZE : first * DIGEST_SIZE + _CONTENT_SIZE]
        if end - first == 1 and file not in extents
        else blake3(manifest.content_of(file)).digest(_CONTENT_SIZE)
        for file, (first, end) in enumerate(pairwise(manifest.layout.first_pieces))
    )


def _each(contents: bytes) -> Iterator[bytes]:
    return (contents[first : first + _CONTENT_SIZE] for first in range(0, len(contents), _CONTENT_SIZE))


def _wanted(manifest: Manifest, metadata: Metadata, number: int) -> bytes:
    """Identifies everything that an entry should be here. Any name of a file will do."""
    number = manifest.entries.first_name(number)
    entry = manifest.entries[number]
    content = manifest.content_of(manifest.entries.file_number(number)) if entry.kind == FILE else b""
    facts = (entry.kind, entry.metadata, metadata.owner(entry.metadata), entry.mtime_ns, entry.target, entry.device)
    return blake3(repr(facts).encode() + content).digest(_CONTENT_SIZE)


def _facts(status: os.stat_result | None) -> tuple[int, ...]:
    if status is None:
        return ()
    owner = (status.st_uid, status.st_gid)
    return (status.st_mode, *owner, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


# What a run leaves.


def shortfalls(
    root: Root, manifest: Manifest, selection: Selection, metadata: Metadata, is_refused: Callable[[bytes], bool]
) -> dict[bytes, Left]:
    """Everything that is not as the manifest says, at the end of a run that did what it could. Raises nothing.

    `metadata`: one that, as that of the next run, has not met the limits of the destination. `is_refused`: of a path;
    the next run tries it again. What cannot be looked at any more, in a directory without permissions, is left out.
    """
    found: dict[bytes, Left] = {}
    for number in selection.of_kind(FILE + DIRECTORY + _SPECIAL):
        first, path = manifest.entries.first_name(number), selection.dest_path(number)
        if is_refused(path):
            continue
        with suppress(OSError, PathRefused):
            status = _status(root, path)
            if status is None or not metadata.matches(manifest.entries[first], status, NamedInode(root, path)):
                found[path] = _wanted(manifest, metadata, first), _facts(status)
            for link in map(selection.dest_path, selection.link_groups.get(first, ())[1:]):
                there = _status(root, link)
                is_same = status is not None and there is not None and os.path.samestat(status, there)
                if not is_same and not is_refused(link):
                    found[link] = _wanted(manifest, metadata, first), _facts(there)
    return found


def _status(root: Root, path: bytes) -> os.stat_result | None:
    with suppress(FileNotFoundError):
        return root.lstat(path)
    return None


# On disk.


def path_for(dest: bytes, selection: Selection, manifest: Manifest) -> bytes:
    """The file for a destination, and what was selected for it."""
    sources = sorted(name + b"=" + manifest.entries.path(number) for name, number in selection.sources.items())
    name = blake3(b"\0".join([os.path.realpath(dest), *sources])).hexdigest(length=16)
    return os.path.join(os.fsencode(usual_cache_directory()), b"left-" + name.encode())


def save_run(
    path: bytes,
    last_run: LastRun,
    root: Root,
    manifest: Manifest,
    selection: Selection,
    metadata: Metadata,
    left: Mapping[bytes, Left],
    refused: Set[int],
) -> None:
    """Saves what a run leaves, in which every selected file except those `refused` was put in place, for the next run.
    `last_run`: what it had from the one before. If that fails, the next run reads more."""
    keys, contents = last_run.keys, last_run.contents
    if refused:
        contents = _doubted(contents, refused)
    if len(selection.files) < len(keys):
        keys = array("I", map(keys.__getitem__, selection.files))
        contents = b"".join(contents[file * _CONTENT_SIZE : (file + 1) * _CONTENT_SIZE] for file in selection.files)
    facts = [[path, wanted, list(facts)] for path, (wanted, facts) in left.items()]
    place = [*_place(root, metadata), b"" if refused else manifest.generation]
    _write(path, [*_HEAD, *place, keys.tobytes(), contents, facts, metadata.notes_by_kind])


def doubt(path: bytes, manifest: Manifest, files: Iterable[int]) -> None:
    """Has the next run read these files, by number, whatever their size and time say."""
    keys, numbers = manifest.entries.path_checksums, manifest.entries.files
    doubted = {keys[numbers[file]] for file in files}
    with suppress(OSError, ValueError, XGetError):
        saved = _read(path)
        indices = (index for index, key in enumerate(array("I", saved[_KEYS])) if key in doubted)
        saved[_GENERATION], saved[_CONTENTS] = b"", _doubted(saved[_CONTENTS], indices)
        _write(path, saved)


def _doubted(contents: bytes, indices: Iterable[int]) -> bytes:
    ids = bytearray(contents)
    for index in indices:
        ids[index * _CONTENT_SIZE : (index + 1) * _CONTENT_SIZE] = _DOUBTED
    return bytes(ids)


def _write(path: bytes, facts: list[Any]) -> None:
    encoded: bytes = msgpack.packb(facts)
    with suppress(OSError):
        if os.path.isabs(path):
            save(path, encoded + blake3(encoded).digest())


def load_run(path: bytes, root: Root | None, manifest: Manifest, metadata: Metadata) -> LastRun:
    """What the last run saved; nothing where there is no such file, or one of no use. `root`: the destination,
    if it is there."""
    with suppress(OSError, ValueError, TypeError, XGetError):
        *_, mount, directory, privileges, generation, keys, contents, facts, notes = _read(path)
        numbers = array("I", keys)
        if len(contents) != len(numbers) * _CONTENT_SIZE:
            raise ValueError
        left: dict[bytes, Left] = {}
        if root is not None and [mount, directory, privileges] == _place(root, metadata):
            left = {each: (wanted, tuple(numbers)) for each, wanted, numbers in facts}
        return LastRun(
            manifest, metadata, generation=generation, keys=numbers, contents=contents, shortfalls=left, notes=notes
        )
    return LastRun(manifest, metadata)


def _read(path: bytes) -> list[Any]:
    """Raises OSError, ValueError, and Failed where it belongs to somebody else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise Failed(printable(path), "belongs to another user, or is not a regular file")
        data = file.read()
    encoded, checksum = data[:-DIGEST_SIZE], data[-DIGEST_SIZE:]
    if blake3(encoded).digest() != checksum:
        raise ValueError
    decoded = msgpack.unpackb(encoded)
    if not isinstance(decoded, list) or decoded[: len(_HEAD)] != _HEAD or len(decoded) != _FIELDS:
        raise ValueError
    return decoded


def _place(root: Root, metadata: Metadata) -> list[Any]:
    """Which directory of which mount this is, and what this process may do there."""
    status = root.lstat(b"")
    return [status.st_dev, status.st_ino, metadata.privileges]
