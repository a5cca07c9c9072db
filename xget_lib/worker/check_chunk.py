"""Reads a chunk of the served generation, of which a node says that it is wrong, and compares it with its digests."""

from __future__ import annotations

import os
from itertools import groupby

from xget_lib.download.read_back import checked_pieces
from xget_lib.errors import PathRefused
from xget_lib.fs.rooted import Root
from xget_lib.manifest.manifest import Manifest


def wrong_files(manifest: Manifest, root: Root, location: bytes, chunk: int) -> tuple[bytes, list[bytes]]:
    """The path of the first file of a chunk, and the paths of those whose part of it is not as in the manifest.

    Paths are below `root`; `location` as in `jobs.Assembled`. A file that cannot be read is wrong too.
    """
    layout = manifest.layout
    first, wrong = b"", []
    for file, pieces in groupby(layout.chunk_pieces(chunk), layout.file_of_piece):
        path = location or manifest.path_of(file)
        first = first or path
        try:
            with root.opened(path, os.O_RDONLY) as descriptor:
                if any(data is None for _, data in checked_pieces(descriptor, manifest, pieces)):
                    wrong.append(path)
        except (OSError, PathRefused):
            wrong.append(path)
    return first, wrong
