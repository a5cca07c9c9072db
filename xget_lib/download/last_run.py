"""What earlier runs left in a destination: the record in the cache directory (`record`), and what an interrupted run
noted in the staging directory.

    known       what content a run left at each path, and in which inode. A file of which the manifest has other content
                now is read, also if its size and time are as the manifest says: images are rebuilt with a fixed time.
                So is a file in another inode: somebody else replaced it, perhaps a run that has another record
    doubts      paths at which an interrupted run was about to put other content (`staging`). These files are read
    shortfalls  what is not as the manifest says although the run did all that this destination can: times are rounded,
                everything belongs to one user, there are no links. What is still exactly so needs nothing

A shortfall is compared with the stat of what is there, with its change time, and holds only for the same directory in
the same mount and for the same privileges. Without a record, or after a change, a run compares and tries again.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from functools import cached_property
from itertools import compress, count, pairwise
from operator import ne
from typing import Any
from zlib import crc32

from blake3 import blake3

from xget_lib.dataclass import replace
from xget_lib.download.metadata import Metadata
from xget_lib.download.record import (
    CONTENT_SIZE,
    DOUBTED,
    Known,
    Left,
    Record,
    change_record,
    each_content,
    read_record,
    record_path,
    write_record,
)
from xget_lib.errors import PathRefused, XGetError
from xget_lib.fs.inode import NamedInode
from xget_lib.fs.mounts import shared_type
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import INODE_WORD, STAMP_WORDS
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK
from xget_lib.manifest.manifest import DIGEST_SIZE, Manifest
from xget_lib.manifest.selection import Selection

_SPECIAL = LINK + CHARACTER + BLOCK + FIFO
_OTHERS_LIMIT = 1 << 20
"""Paths of earlier selections that a record keeps: 28 bytes each."""


class LastRun:
    """What earlier runs left. It belongs to one download or dry run of a selection of a manifest."""

    def __init__(
        self,
        selection: Selection,
        metadata: Metadata,
        record: Record | None = None,
        *,
        knows_shortfalls: bool = True,
        knows_inodes: bool = True,
    ) -> None:
        """`knows_shortfalls`: the shortfalls of the record hold here and now. `knows_inodes`: the numbers of inodes
        last."""
        self.doubts: Set[int] = frozenset()
        """The keys of paths at which nobody knows what there is. To be set before the first question."""
        self.differs = False
        """Whether something was not as the record says."""
        self._manifest = selection.manifest
        self._metadata = metadata
        self._record = record or Record()
        self._shortfalls = self._record.shortfalls if knows_shortfalls else {}
        self._knows_inodes = knows_inodes
        self._paths = Paths(selection)
        self._label = _label(selection)

    @property
    def is_current(self) -> bool:
        """Whether a run that replaces nothing, and meets no limits of the destination, need not save a record."""
        is_same = self._record.label == self._label and not self._record.shortfalls
        return is_same and not self.differs and not self.doubts

    def keys_of(self, files: Iterable[int]) -> array[int]:
        """The keys of all names of selected files."""
        return self._paths.keys_of(files)

    def has_changed(self, file: int) -> bool:
        """Whether earlier runs may have left other content at a name of a file than the manifest has."""
        return file in self._compared[0]

    def is_left(self, file: int, status: os.stat_result) -> bool:
        """Whether a file is in the inode in which a run left it, if that is known."""
        inode = self._compared[1][file]
        if inode in (0, status.st_ino):
            return True
        self.differs = True
        return False

    @cached_property
    def _compared(self) -> tuple[Set[int], array[int]]:
        """The files that have changed, and by file number the inodes in which they were left; 0: not known."""
        paths, known = self._paths, self._record.known
        inodes = array("Q", bytes(8 * self._manifest.layout.file_count))
        changed: set[int] = set()
        left: Iterable[int] = known.inodes
        if not known.keys and not self._record.others.keys:
            left = ()
        elif paths.keys == known.keys:  # most often; then a million take no time
            if self._record.label != self._label:
                words = map(ne, array("Q", paths.contents), array("Q", known.contents))
                changed.update(paths.files[word // 2] for word in compress(count(), words))
        else:
            there = {**dict(self._record.others.items()), **dict(known.items())}
            wanted = zip(paths.files, paths.keys, each_content(paths.contents), strict=True)
            changed = {file for file, key, content in wanted if there.get(key, (content,))[0] != content}
            left = [there.get(key, (b"", 0))[1] for key in paths.keys]
        if self.doubts:
            changed.update(file for file, key in zip(paths.files, paths.keys, strict=True) if key in self.doubts)
        if self._knows_inodes:
            for file, inode in zip(paths.files, left, strict=False):
                inodes[file] = inodes[file] or inode
        return changed, inodes

    def is_as_left(self, entry: int, path: bytes, status: os.stat_result | None) -> bool:
        """Whether there is at `path` what the last run left there, as near to this entry as it could."""
        left = self._shortfalls.get(path)
        if left is None or left != (_wanted(self._manifest, self._metadata, entry), _facts(status)):
            return False
        first = self._manifest.entries.first_name(entry)
        if self._manifest.entries.kind(first) == FILE and self.has_changed(self._manifest.entries.file_number(first)):
            return False  # where times are rounded, or can be set, other content may have the same facts
        self._metadata.limited = True
        for kind, note in self._record.notes.items():
            self._metadata.repeat(kind, note)
        return True

    def next_record(self, stamps: array[int], refused: Set[int]) -> Record:
        """What is known after a run that put everything selected in place, except the files `refused`. `stamps`: of the
        files. Shortfalls are not in it: the record is not current where there are any."""
        paths, record = self._paths, self._record
        inodes = stamps[INODE_WORD::STAMP_WORDS]
        left = array("Q", (inodes[file] & 0xFFFF_FFFF_FFFF_FFFF for file in paths.files))
        known = Known(paths.keys, paths.contents, left).doubting(set(paths.keys_of(refused)))
        others = dict(record.others.items())
        if paths.keys != record.known.keys:
            others.update(record.known.items())
        others.update((key, (DOUBTED, 0)) for key in self.doubts)
        for key in paths.keys if others else ():
            others.pop(key, None)
        if len(others) > _OTHERS_LIMIT:
            others = {}
        return Record(b"" if refused else self._label, known, Known.of(others))


class Paths:
    """The paths in the destination of all names of the selected files. Each has a key: its CRC-32."""

    def __init__(self, selection: Selection) -> None:
        self._manifest = selection.manifest
        entries = self._manifest.entries
        groups = {first: names for first, names in selection.link_groups.items() if entries.kind(first) == FILE}
        self._selected = selection.files
        numbers = [entries.files[file] for file in self._selected]
        if groups:
            numbers = [groups[number][0] if number in groups else number for number in numbers]
        further = [(number, entries.file_number(first)) for first, names in groups.items() for number in names[1:]]
        numbers += [number for number, _ in further]
        self.files = self._selected + array("I", (file for _, file in further))
        """Of each path the file number: first one path of each file, then the further ones."""
        if selection.whole:
            self.keys = array("I", map(entries.path_checksums.__getitem__, numbers))
        else:
            self.keys = array("I", map(crc32, map(selection.dest_path, numbers)))
        self._further: dict[int, list[int]] = {}  # by file: the keys of its further names
        for file, key in zip(self.files[len(self._selected) :], self.keys[len(self._selected) :], strict=True):
            self._further.setdefault(file, []).append(key)

    @cached_property
    def contents(self) -> bytes:
        """What identifies the content of each, CONTENT_SIZE bytes."""
        contents = contents_of(self._manifest)
        if self.files == array("I", range(self._manifest.layout.file_count)):
            return contents
        return b"".join(contents[file * CONTENT_SIZE : (file + 1) * CONTENT_SIZE] for file in self.files)

    def keys_of(self, files: Iterable[int]) -> array[int]:
        keys = array("I")
        for file in files:
            keys.append(self.keys[bisect_left(self._selected, file)])
            keys.extend(self._further.get(file, ()))
        return keys


def contents_of(manifest: Manifest) -> bytes:
    """CONTENT_SIZE bytes a file, by file number, that identify its content."""
    digests, extents = manifest.digests, manifest.entries.extents
    return b"".join(
        digests[first * DIGEST_SIZE : first * DIGEST_SIZE + CONTENT_SIZE]
        if end - first == 1 and file not in extents
        else blake3(manifest.content_of(file)).digest(CONTENT_SIZE)
        for file, (first, end) in enumerate(pairwise(manifest.layout.first_pieces))
    )


def _label(selection: Selection) -> bytes:
    """Identifies what the selected paths are to have."""
    entries = selection.manifest.entries
    sources = [name + b"=" + entries.path(number) for name, number in sorted(selection.sources.items())]
    return blake3(b"\0".join([selection.manifest.generation, *sources])).digest(CONTENT_SIZE)


def _wanted(manifest: Manifest, metadata: Metadata, number: int) -> bytes:
    """Identifies everything that an entry should be here. Any name of a file will do."""
    number = manifest.entries.first_name(number)
    entry = manifest.entries[number]
    content = manifest.content_of(manifest.entries.file_number(number)) if entry.kind == FILE else b""
    facts = (entry.kind, entry.metadata, metadata.owner(entry.metadata), entry.mtime_ns, entry.target, entry.device)
    return blake3(repr(facts).encode() + content).digest(CONTENT_SIZE)


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


def load_run(root: Root | None, selection: Selection, metadata: Metadata) -> LastRun:
    """What is known of a destination; nothing where there is no record, or one of no use. `root`: the destination, if
    it is there. Raises nothing."""
    with suppress(OSError, ValueError, TypeError, XGetError):
        if root is not None:
            record = read_record(record_path(root))
            is_same = record.place == _place(root, metadata)
            return LastRun(selection, metadata, record, knows_shortfalls=is_same, knows_inodes=_has_inodes(root))
    return LastRun(selection, metadata)


def save_run(root: Root, metadata: Metadata, record: Record, left: Mapping[bytes, Left] | None = None) -> bool:
    """Saves a record with what is `left`. Returns False where the next run may read an old one instead."""
    if left is not None:
        notes = metadata.notes_by_kind
        record = replace(record, place=_place(root, metadata), shortfalls=left, notes=notes)
    elif metadata.limited:
        record = replace(record, label=b"")
    with suppress(OSError):
        return write_record(record_path(root), record)
    return False


def doubt(root: Root, selection: Selection, files: Iterable[int]) -> None:
    """Has the next run read these files, by number, whatever their size and time say."""
    keys = set(Paths(selection).keys_of(files))

    def doubting(record: Record) -> Record:
        return replace(record, label=b"", known=record.known.doubting(keys), others=record.others.doubting(keys))

    with suppress(OSError):
        change_record(record_path(root), doubting)


def _has_inodes(root: Root) -> bool:
    """Whether files keep their inode numbers: FUSE may give another one at each look."""
    return not (shared_type(root.lstat(b"").st_dev) or "").startswith("fuse")


def _place(root: Root, metadata: Metadata) -> list[Any]:
    """Which directory of which mount this is, and what this process may do there."""
    status = root.lstat(b"")
    return [status.st_dev, status.st_ino, metadata.privileges]
