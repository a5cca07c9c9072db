"""Downloads without a network: a served directory is at hand, and its pieces are written as if they had arrived."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xget_lib.download.destination import Destination
from xget_lib.download.download import Download
from xget_lib.download.metadata import Metadata
from xget_lib.errors import DestinationRefused
from xget_lib.fs.rooted import Root
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.selection import select
from xget_lib.snapshot.assemble import assemble, without_unreadable
from xget_lib.snapshot.hash import hash_pieces
from xget_lib.snapshot.scan import scan

PIECE = 65536  # bytes of a piece of a small file
SECOND = 1_000_000_000  # in ns


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


def destination(root: Root, manifest: Manifest, *, owners: bool = True, delete: bool = False) -> Destination:
    """A destination for everything in a manifest."""
    metadata = Metadata(manifest, permissions=True, owners=owners)
    return Destination(root, manifest, select(manifest, [b"."]), metadata, delete)


def one_of_everything(directory: Path) -> Path:
    """A tree with one of everything that is preserved."""
    (directory / "empty directory").mkdir(parents=True)
    (directory / "a/deep/er").mkdir(parents=True)
    for name, size in (
        ("small", 100),
        (".hidden", 5),
        ("empty", 0),
        ("a/large", 5 * PIECE + 1),
        ("a/deep/even", 2 * PIECE),
        (os.fsdecode(b"a/deep/er/\xff\n name"), 1000),
    ):
        (directory / name).write_bytes(os.urandom(size))
    (directory / "a/link").symlink_to("../small")
    (directory / "a/dangling").symlink_to("/nowhere")
    os.link(directory / "a/large", directory / "b")
    os.link(directory / "a/large", directory / "a/z")
    (directory / "small").chmod(0o4751)
    (directory / ".hidden").chmod(0o400)
    (directory / "a/deep").chmod(0o2750)
    for number, path in enumerate(sorted(directory.rglob("*"))):
        os.utime(path, ns=(0, SECOND * number * 1000 + 123_456_789), follow_symlinks=False)
    os.utime(directory, ns=(0, 77 * SECOND))
    return directory


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

    def download(self, dest: Path, *sources: bytes, **options: Any) -> Download:
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


def inspect(download: Download, *, trust_times: bool = True) -> None:
    """Inspects every selected file."""
    download.inspect_files(download.files, lambda file: trust_times)


def missing(download: Download, layout: Layout) -> list[int]:
    """The pieces that are still to be fetched."""
    return [number for chunk in range(layout.chunk_count) for run in download.missing(chunk) for number in run]


def present(download: Download, layout: Layout) -> list[int]:
    """The pieces of the selected files that need not be fetched any more."""
    selected = {number for file in download.files for number in layout.file_pieces(file)}
    return sorted(selected.difference(missing(download, layout)))


def write_piece(download: Download, number: int, data: bytes, source: str = "peer") -> None:
    """Writes one piece as if it had come from `source`."""
    download.writer.write_run(range(number, number + 1), memoryview(data), source)


def fetch(download: Download, served: Served, numbers: Iterable[int] | None = None) -> int:
    """Writes pieces (all that are missing) as if they had come from a peer. Returns how many bytes these were."""
    fetched = 0
    for number in missing(download, served.layout) if numbers is None else numbers:
        data = served.piece(number)
        write_piece(download, number, data)
        fetched += len(data)
    return fetched


def finish(download: Download) -> None:
    """Installs the files that are complete, then the rest."""
    download.install_files(download.take_complete())
    download.finish()


def run_download(
    served: Served,
    dest: Path,
    *sources: bytes,
    on_end: Callable[[Download], object] = lambda download: None,
    **options: Any,
) -> int:
    """A whole run, from beginning to end. Returns how many bytes were fetched. `on_end` gets the download."""
    with served.download(dest, *sources, **options) as download:
        inspect(download)
        download.check_free_space()
        fetched = fetch(download, served)
        finish(download)
        on_end(download)
        return fetched


def is_same(served: Served, dest: Path) -> bool:
    """Whether the destination is what was served: it would itself be served as the same generation."""
    return manifest_of(dest).generation == served.manifest.generation


def refuse(served: Served, dest: Path, why: str, *sources: bytes) -> None:
    """Fails unless a run is refused before anything is fetched."""
    with pytest.raises(DestinationRefused, match=why), served.download(dest, *sources) as download:
        inspect(download)
