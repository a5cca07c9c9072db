"""A whole snapshot in one process, without a master: what `xget.py sign` signs.

The master does the same with many workers (`master.snapshotter`), and the same tree has the same manifest.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from xget_lib.errors import Failed, printable
from xget_lib.fs.rooted import Root
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.patterns import NO_PATTERNS, Patterns
from xget_lib.snapshot.assemble import assemble
from xget_lib.snapshot.hash import hash_pieces
from xget_lib.snapshot.scan import scan

_RUN = 64
"""Pieces that a thread hashes at once: at most 64 MiB."""


def take_whole(
    root: bytes,
    *,
    one_file_system: bool,
    owner_names: bool,
    public_only: bool = False,
    exclude: Patterns = NO_PATTERNS,
) -> Manifest:
    """The manifest of a directory or file. Arguments as those of `scan`.

    Raises PathRefused, and Failed where something cannot be read, or changes meanwhile: it would be left out.
    """
    found = scan(root, one_file_system, owner_names, public_only=public_only, exclude=exclude)
    for each in found.outline.unreadable:
        raise Failed(printable(each.path), f"cannot be read: {each.why}")
    pieces = found.layout.piece_count
    with Root(found.base) as base, ThreadPoolExecutor(os.cpu_count()) as threads:
        runs = threads.map(
            lambda first: hash_pieces(base, found, first, min(first + _RUN, pieces)), range(0, pieces, _RUN)
        )
        digests = []
        for hashed in runs:
            for file, why in hashed.unreadable.items():
                raise Failed(printable(found.path_of(file)), f"cannot be read: {why}")
            for file in hashed.changed:
                raise Failed(printable(found.path_of(file)), "changed while it was read (sign it when it is quiet)")
            digests.append(hashed.digests)
    return assemble(found, b"".join(digests))
