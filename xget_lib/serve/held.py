"""What a node holds of one generation: what is on disk and verified, during the download and later. It serves this.

If the inventory accepted a file by its size and times, the file stays in place, but it is served only after it is
verified. The node may have verified it for the generation before. Otherwise the node reads it after the download; until
then no chunk that contains a part of it is held.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Set

from xget_lib.dataclass import dataclass, field
from xget_lib.download.download import Download
from xget_lib.download.read_back import checked_pieces
from xget_lib.errors import PathRefused
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import STAMP_WORDS, no_stamps
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, LINK
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection
from xget_lib.serve.store import Store


class HeldContent:
    """The held chunks of a download. Owned by the node. `store` is what it serves of them."""

    def __init__(self, manifest: Manifest, download: Download) -> None:
        """After the inventory of `download`: what it found right is held from now on."""
        self.unverified = set(download.unverified)
        """Files that were accepted by size and times, and have not been read."""
        self._download = download
        self._layout = manifest.layout
        held = Bitmap(self._layout.chunk_count)
        self.store = Store(download.root.again(), manifest, held, stamps=download.stamps, locate=download.path_of)
        self.store.more_may_come = True
        self.store.unverified = self.unverified
        for chunk in range(self._layout.chunk_count):
            if self._is_verified(chunk):
                held.add(chunk)

    @property
    def generation(self) -> bytes:
        return self.store.manifest.generation

    def chunk_written(self, chunk: int) -> bool:
        """Everything that was missing of a chunk is written. Returns whether more is held now."""
        return self._is_verified(chunk) and self.store.hold(chunk)

    def file_is_right(self, root: Root, file: int) -> bool:
        """Read a file below the destination and compare every piece with its digest. In any thread, with a root of its
        own. A file that cannot be read is not right."""
        manifest = self.store.manifest
        try:
            descriptor = root.open(self.store.path_of(file), os.O_RDONLY)
            try:
                pieces = checked_pieces(descriptor, manifest, manifest.layout.file_pieces(file))
                return all(right is not None for _, right in pieces)
            finally:
                os.close(descriptor)
        except (OSError, PathRefused):
            return False

    def file_verified(self, file: int) -> bool:
        """An unverified file was read and is right. Returns whether more is held now."""
        self.unverified.discard(file)
        changes = self.store.changes
        for chunk in self._layout.file_chunks(file):
            self.chunk_written(chunk)
        return self.store.changes > changes

    def compare(self, manifest: Manifest, dest_paths: Iterable[tuple[int, bytes]]) -> Compared:
        """Compare with another generation, whose files, by number, have these paths at the destination. In any
        thread."""
        return compare(self.store, self._download.files, manifest, dest_paths)

    def rebased(self, manifest: Manifest, selection: Selection) -> Store:
        """The part of another generation that is verified here, under the same names. In any thread."""
        same = self.compare(manifest, selection.file_dest_paths).verified
        layout = manifest.layout
        held = Bitmap(layout.chunk_count)
        for chunk in range(layout.chunk_count):
            if all(file in same for file in layout.chunk_files(chunk)):
                held.add(chunk)
        stamps = no_stamps(layout.file_count)
        for file, own in same.items():
            stamps[file * STAMP_WORDS : (file + 1) * STAMP_WORDS] = self.store.stamp(own)
        return Store(self.store.root.again(), manifest, held, stamps=stamps, locate=selection.file_dest_path)

    def _is_verified(self, chunk: int) -> bool:
        # The last chunk of a selection may have parts that were not selected: then it is never whole.
        if not self._download.chunk_complete(chunk):
            return False
        return not self.unverified or self.unverified.isdisjoint(self._layout.chunk_files(chunk))


@dataclass(frozen=True)
class Compared:
    """The files of another generation, compared with those of a store in the same directory."""

    verified: Mapping[int, int] = field(default_factory=dict)
    """The files with the same path and content as in the store, which has verified them, and that have not changed
    since. By number in the other generation: the number in the store."""
    changed: Set[int] = frozenset()
    """The files with other content than in the store's generation, whatever their size and times say."""


def compare(
    store: Store, selected: Iterable[int], manifest: Manifest, dest_paths: Iterable[tuple[int, bytes]]
) -> Compared:
    """`selected` are the files that the store can have; `manifest` and `dest_paths` are the other generation's."""
    verified: dict[int, int] = {}
    changed: set[int] = set()
    own_files = {store.path_of(file): file for file in selected}
    for file, path in dest_paths:
        own = own_files.get(path)
        if own is None:
            continue
        if store.manifest.content_of(own) != manifest.content_of(file):
            changed.add(file)
        elif store.is_verified(own):
            verified[file] = own
    return Compared(verified, changed)


def still_matches(store: Store, selection: Selection) -> Callable[[bytes, os.stat_result], bool]:
    """A function that says whether what is at a destination path, and has this status, is what the manifest has there.

    Whatever else is in the destination is not the master's to give, and not everybody's to read.
    """
    entries = selection.manifest.entries

    def matches(path: bytes, status: os.stat_result) -> bool:
        number = 0 if not path else selection.entry_at(path)
        if number is None:
            return False
        first = entries.first_name(number)
        kind, type_ = entries.kind(first), stat.S_IFMT(status.st_mode)
        if kind == FILE:
            return type_ == stat.S_IFREG and store.is_right(entries.file_number(first), status)
        if kind == LINK:
            return type_ == stat.S_IFLNK and store.root.readlink(path) == entries.target(first)
        if kind in (CHARACTER, BLOCK) and status.st_rdev != os.makedev(*entries.device(first)):
            return False
        return type_ == _TYPES[kind]

    return matches


_TYPES = {DIRECTORY: stat.S_IFDIR, FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}
