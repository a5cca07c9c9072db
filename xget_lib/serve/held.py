"""What a node holds of one generation, and so serves: what is on disk and verified, while it comes and afterwards.

Nothing is served that was not verified. A file that was taken to be right by its size and time (`serve.unverified`) may
have been verified for the generation before; else it is read when the download is done, and until then the chunks that
it is in are not held, whatever else comes of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from xget_lib.download.download import Download
from xget_lib.errors import printable
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import Selection
from xget_lib.serve.store import Store
from xget_lib.serve.unverified import Known, Unverified, is_right

_LOGGER = logging.getLogger("xget")


class HeldContent:
    """The chunks of a download that are held. `on_change` is called whenever they have become more, or less."""

    def __init__(
        self, dest: bytes, manifest: Manifest, partial: Download, on_change: Callable[[HeldContent], None]
    ) -> None:
        """`partial` has been surveyed: what is right of it is held from now on."""
        self._dest = dest
        self._partial = partial
        self._on_change = on_change
        self._replaced = False
        self._files = sorted(partial.unverified)
        self._believed = Unverified(manifest.layout, self._files)
        held = Bitmap(manifest.layout.chunk_count)
        self.store = Store(Root(dest), manifest, held, stamps=partial.stamps, locate=partial.path_of)
        self.store.growing = True
        for chunk in range(manifest.layout.chunk_count):
            if self._may_hold(chunk):
                held.add(chunk)

    @property
    def generation(self) -> bytes:
        return self.store.manifest.generation

    def came(self, chunk: int) -> None:
        """All that was lacking of a chunk is written."""
        if self._may_hold(chunk):
            self._hold(chunk)

    def changed(self, path: bytes) -> None:
        """A file was found changed under its final name; the store serves it no more."""
        if not self._replaced:
            _LOGGER.warning("%s was changed here and is not served any more", printable(path))
        self._on_change(self)

    def known(self, manifest: Manifest, places: Iterable[tuple[int, bytes]]) -> Known:
        """What this generation tells of another, and where that lands. In any thread."""
        return Known(self.store, self._partial.files, manifest, places)

    def carried_over(self, manifest: Manifest, selection: Selection) -> Store:
        """What of another generation is verified here and under the same names, to be served as a part of that. In any
        thread."""
        known = self.known(manifest, selection.file_dest_paths)
        same = known.verified(selection.files)
        layout = manifest.layout
        held = Bitmap(layout.chunk_count)
        for chunk in range(layout.chunk_count):
            if all(file in same for file in layout.chunk_files(chunk)):
                held.add(chunk)
        return Store(Root(self._dest), manifest, held, stamps=known.stamps_of(same), locate=selection.file_dest_path)

    def confirm(self, in_thread: Callable[..., bool]) -> None:
        """Read what is only believed, one file after another, and hold what that makes certain."""
        try:
            with Root(self._dest) as root:
                for file in self._files:
                    path = self.store.path_of(file)
                    if in_thread(is_right, root, path, self.store.manifest, file):
                        for chunk in self._believed.confirmed(file):
                            self.came(chunk)
                    else:
                        _LOGGER.error("%s is not what its size and time promise", printable(path))
        finally:
            self._end()

    def replaced(self) -> None:
        """Another generation takes its place: its files change, and that is no surprise."""
        self._replaced = True
        self._end()

    def _end(self) -> None:
        """What is not held now does not come any more; who waits for it must hear of that."""
        self.store.growing = False
        self._on_change(self)

    def _may_hold(self, chunk: int) -> bool:
        # Of the last chunk of what was asked for only a part may ever be there.
        return self._partial.chunk_complete(chunk) and not self._believed.doubtful(chunk)

    def _hold(self, chunk: int) -> None:
        self.store.hold(chunk)
        self._on_change(self)
