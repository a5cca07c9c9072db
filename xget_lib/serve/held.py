"""What a node holds of one generation, and so serves: what is on disk and verified, during its download and afterwards.

A file that the inventory accepted by its size and times is kept, but not served before it was read and verified. It may
have been verified for the generation before. Otherwise the node reads it when the download is done, and until then no
chunk with a part of it is held.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable

from xget_lib.download.download import Download
from xget_lib.download.verify import checked_pieces
from xget_lib.errors import PathRefused
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import STAMP_WORDS, no_stamps
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection
from xget_lib.serve.store import Store


class HeldContent:
    """The held chunks of a download. Owned by the node. `store` is what it serves of them."""

    def __init__(self, dest: bytes, manifest: Manifest, download: Download) -> None:
        """After the inventory of `download`: what it found right is held from now on."""
        self.unverified = set(download.unverified)
        """Files that were accepted by size and times, and have not been read."""
        self._dest = dest
        self._download = download
        self._layout = manifest.layout
        held = Bitmap(self._layout.chunk_count)
        self.store = Store(Root(dest), manifest, held, stamps=download.stamps, locate=download.path_of)
        self.store.growing = True
        for chunk in range(self._layout.chunk_count):
            if self._is_verified(chunk):
                held.add(chunk)

    @property
    def generation(self) -> bytes:
        return self.store.manifest.generation

    def chunk_written(self, chunk: int) -> bool:
        """All that was missing of a chunk is written. Returns whether more is held now."""
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

    def known(self, manifest: Manifest, places: Iterable[tuple[int, bytes]]) -> Known:
        """What this generation says about another, whose files land at `places`. In any thread."""
        return Known(self.store, self._download.files, manifest, places)

    def carried_over(self, manifest: Manifest, selection: Selection) -> Store:
        """The part of another generation that is verified here, under the same names. In any thread."""
        known = self.known(manifest, selection.file_dest_paths)
        same = known.verified(selection.files)
        layout = manifest.layout
        held = Bitmap(layout.chunk_count)
        for chunk in range(layout.chunk_count):
            if all(file in same for file in layout.chunk_files(chunk)):
                held.add(chunk)
        return Store(Root(self._dest), manifest, held, stamps=known.stamps_of(same), locate=selection.file_dest_path)

    def _is_verified(self, chunk: int) -> bool:
        # The last chunk of a selection may have parts that were not selected: then it is never whole.
        if not self._download.chunk_complete(chunk):
            return False
        return not self.unverified or self.unverified.isdisjoint(self._layout.chunk_files(chunk))


class Known:
    """What the store of one generation says about the files of another, in the same directory. In any thread."""

    def __init__(
        self, store: Store, selected: Iterable[int], manifest: Manifest, places: Iterable[tuple[int, bytes]]
    ) -> None:
        """`selected` are the files that the store can have. `manifest` is the other generation's, and `places` are its
        files and the paths where they land."""
        self.changed: set[int] = set()
        """Files with other content than in the store's generation, whatever their size and times say."""
        self._store = store
        self._file_count = manifest.layout.file_count
        self._same: dict[int, int] = {}
        """By file of the other generation: the file of the store's with the same path and content."""
        former = {store.path_of(file): file for file in selected}
        for file, place in places:
            old = former.get(place)
            if old is None:
                continue
            if store.manifest.content_of(old) == manifest.content_of(file):
                self._same[file] = old
            else:
                self.changed.add(file)

    def verified(self, files: Iterable[int]) -> set[int]:
        """Of these files, those that the store has verified, and that have not changed since."""
        return {file for file in files if file in self._same and self._store.is_verified(self._same[file])}

    def stamps_of(self, files: Iterable[int]) -> array[int]:
        """The store's stamps of these files, which must be the same in both, at their place in the other generation."""
        stamps = no_stamps(self._file_count)
        for file in files:
            first = file * STAMP_WORDS
            stamps[first : first + STAMP_WORDS] = self._store.stamp(self._same[file])
        return stamps
