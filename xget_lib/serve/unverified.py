"""Files that were taken to be right by size and time: good enough to keep, not to be served before they are read.

A node whose files are all in place already has nothing to fetch and says so at once. What it serves to others must be
verified all the same; so its daemon reads the files that were only believed, one after another, and holds a chunk when
no doubtful file is in it any more.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable

from xget_lib.download.verify import checked_pieces
from xget_lib.errors import PathRefused
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import STAMP_WORDS, no_stamps
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import Manifest
from xget_lib.serve.store import Store


class Unverified:
    """Which files are still only believed to be right."""

    def __init__(self, layout: Layout, files: Iterable[int]) -> None:
        self._layout = layout
        self._files = set(files)

    def doubtful(self, chunk: int) -> bool:
        """Whether any of a chunk is in a file that has not been read."""
        return bool(self._files) and not self._files.isdisjoint(self._layout.chunk_files(chunk))

    def confirmed(self, file: int) -> list[int]:
        """A file was read and is right. The chunks that nothing is doubtful in any more."""
        self._files.discard(file)
        return [chunk for chunk in self._layout.file_chunks(file) if not self.doubtful(chunk)]


class Known:
    """What the store of one generation tells of the files of another that land in the same directory. Any thread."""

    def __init__(
        self, store: Store, selected: Iterable[int], manifest: Manifest, places: Iterable[tuple[int, bytes]]
    ) -> None:
        """`selected` are the files that the store can have. `manifest` is the other generation's, and `places` says
        where its files land."""
        self.changed: set[int] = set()
        """Files that were something else in the store's generation, whatever their size and time say."""
        self._store = store
        self._file_count = manifest.layout.file_count
        self._same: dict[int, int] = {}
        where = {store.path_of(file): file for file in selected}
        for file, place in places:
            old = where.get(place)
            if old is None:
                continue
            if store.manifest.content_of(old) == manifest.content_of(file):
                self._same[file] = old
            else:
                self.changed.add(file)

    def verified(self, files: Iterable[int]) -> set[int]:
        """Of these files, those that the store has verified, and that look as they did then."""
        return {file for file in files if file in self._same and self._store.vouches_for(self._same[file])}

    def stamps_of(self, files: Iterable[int]) -> array[int]:
        """How these look, which are the same as in the store, as it knows them; of the other generation's files."""
        stamps = no_stamps(self._file_count)
        for file in files:
            first = file * STAMP_WORDS
            stamps[first : first + STAMP_WORDS] = self._store.stamp(self._same[file])
        return stamps


def is_right(root: Root, path: bytes, manifest: Manifest, file: int) -> bool:
    """Reads a file and compares every piece with its digest. A file that cannot be read is not right."""
    layout = manifest.layout
    try:
        descriptor = root.open(path, os.O_RDONLY)
        try:
            pieces = layout.file_pieces(file)
            return all(right is not None for _, right in checked_pieces(descriptor, layout, pieces, manifest.digest))
        finally:
            os.close(descriptor)
    except (OSError, PathRefused):
        return False
