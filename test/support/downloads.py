"""Downloads without a network: a served directory is at hand, and its pieces are written as if they had arrived."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from xget_lib.download.download import Download
from xget_lib.fs.rooted import Root
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import select
from xget_lib.snapshot.assemble import assemble, without_unreadable
from xget_lib.snapshot.hash import hash_pieces
from xget_lib.snapshot.scan import scan


def manifest_of(directory: Path, unreadable: Mapping[bytes, str] | None = None) -> Manifest:
    """The manifest that a master would serve, which could not read some files (by path, and why)."""
    found = scan(bytes(directory))
    refused = {
        found.entries.file_number(number): why
        for path, why in (unreadable or {}).items()
        if (number := found.entries.find(path)) is not None
    }
    with Root(found.base) as root:
        hashed = hash_pieces(root, found, 0, found.layout.piece_count)
    return assemble(*without_unreadable(found, hashed.digests, hashed.unreadable | refused))


class Served:
    """A directory as a master serves it."""

    def __init__(self, directory: Path, unreadable: Mapping[bytes, str] | None = None) -> None:
        self.directory = directory
        self.manifest = manifest_of(directory, unreadable)
        self.layout: Layout = self.manifest.layout

    def piece(self, number: int) -> bytes:
        piece = self.layout.piece(number)
        with open(os.path.join(bytes(self.directory), self.manifest.path_of(piece.file)), "rb") as file:
            return b"".join(os.pread(file.fileno(), length, at) for at, length in self.layout.parts(piece))

    def partial(self, dest: Path, *sources: bytes, **options: bool) -> Download:
        return Download(bytes(dest), self.manifest, select(self.manifest, sources or (b".",)), **options)

    def file_named(self, path: bytes) -> int:
        """The number of a regular file."""
        index = self.manifest.entries.find(path)
        assert index is not None
        return self.manifest.entries.file_number(index)


class InMemory(Served):
    """A served directory whose pieces are read while that is still allowed."""

    def __init__(self, served: Served) -> None:
        self.manifest = served.manifest
        self.layout = served.layout
        self._pieces = [served.piece(number) for number in range(served.layout.piece_count)]

    def piece(self, number: int) -> bytes:
        return self._pieces[number]


def survey(partial: Download) -> list[int]:
    """Surveys every selected file. Returns the pieces that are right."""
    return [number for file in partial.files for number in partial.survey_file(file)]


def lacking(partial: Download, layout: Layout) -> list[int]:
    """The pieces that are still to be fetched."""
    return [number for chunk in range(layout.chunk_count) for run in partial.lacking(chunk) for number in run]


def fetch(partial: Download, served: Served, numbers: Iterable[int] | None = None) -> int:
    """Writes pieces (all that are lacking) as if they had come from a peer. Returns how many bytes these were."""
    fetched = 0
    for number in lacking(partial, served.layout) if numbers is None else numbers:
        data = served.piece(number)
        partial.write(number, data, "peer")
        fetched += len(data)
    return fetched


def download(served: Served, dest: Path, *sources: bytes, **options: bool) -> int:
    """A whole run, from begin to end. Returns how many bytes were fetched."""
    with served.partial(dest, *sources, **options) as partial:
        survey(partial)
        partial.check_room()
        fetched = fetch(partial, served)
        partial.finish_files(partial.take_whole())
        partial.finish()
        return fetched
