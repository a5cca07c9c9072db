"""Manifests of many files, made fast, that can be changed a little."""

from __future__ import annotations

from random import Random

from test.support.manifests import OWN, PLAIN
from xget_lib.manifest.layout import piece_count
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.table_builder import TableBuilder

Files = dict[bytes, tuple[int, int, bytes]]
"""By path, `directory/name`: size, modification time, and the digest of each piece."""


def files_of(rng: Random, *, directories: int, files: int) -> Files:
    """So many directories with so many files each."""
    return {
        b"dir-%03d/file-%04d" % (directory, number): (rng.randrange(1, 60_000), rng.getrandbits(60), rng.randbytes(32))
        for directory in range(directories)
        for number in range(files)
    }


def manifest_of(files: Files, links: int = 0, sparse: int = 0) -> Manifest:
    """With so many more hard links, at the end of the last directory, to files in it; and holes in the last files."""
    builder = TableBuilder()
    below: dict[bytes, list[bytes]] = {}
    for path in sorted(files):
        directory, _, name = path.partition(b"/")
        below.setdefault(directory, []).append(name)
    builder.add("d", b"", OWN, 1)
    for directory in sorted(below):
        builder.add("d", directory, PLAIN, 2)
    builder.end_directory(len(below))
    digests = []
    count = 0
    for directory, names in sorted(below.items()):
        first = len(builder)
        for name in names:
            size, mtime, digest = files[directory + b"/" + name]
            builder.add("f", name, PLAIN, mtime)
            count += 1
            extents = (0, 4096) if len(files) - count < sparse else None
            builder.add_size(8192 if extents else size, extents)
            digests.append(digest * piece_count(4096 if extents else size, extents))
        if directory == max(below):
            for number in range(links):
                builder.add_hard_link(b"z-%06d" % number, first + number % len(names))
        builder.end_directory(len(builder) - first)
    return Manifest(builder.table(), b"".join(digests), {}, {})
