"""What of a new generation needs no reading, because it was verified for the one before and looks as it did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.downloads import manifest_of
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps, put_stamp
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.serve.store import Store
from xget_lib.serve.unverified import Known, Unverified

NAMES = (b"changed", b"empty", b"same", b"spoilt")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / os.fsdecode(name)).write_bytes(b"" if name == b"empty" else name * 20_000)
    return tmp_path


def store_of(tree: Path, *, held: bool = True) -> Store:
    """A store in which every file was verified just now."""
    manifest = manifest_of(tree)
    chunks = manifest.layout.chunk_count
    stamps = no_stamps(manifest.layout.file_count)
    for file in range(manifest.layout.file_count):
        put_stamp(stamps, file, os.stat(os.path.join(bytes(tree), manifest.file(file).path)))
    return Store(Root(bytes(tree)), manifest, Bitmap.filled(chunks) if held else Bitmap(chunks), stamps=stamps)


def known(store: Store, manifest: Manifest) -> tuple[set[bytes], set[bytes]]:
    """The names of what was verified, and of what has changed."""
    files = range(manifest.layout.file_count)
    landings = {file: manifest.file(file).path for file in files}
    known = Known(store, range(store.layout.file_count), manifest, landings.items())
    return {landings[file] for file in known.verified(files)}, {landings[file] for file in known.changed}


def test_what_is_the_same_and_was_not_touched_is_known(tree: Path) -> None:
    store = store_of(tree)
    (tree / "changed").write_bytes(b"other content")
    (tree / "new").write_bytes(b"new")
    status = os.stat(tree / "spoilt")
    with open(tree / "spoilt", "r+b") as file:
        file.write(b"x")
    os.utime(tree / "spoilt", ns=(status.st_atime_ns, status.st_mtime_ns))
    manifest = store.manifest  # the next generation promises for `spoilt` what this one did
    assert known(store, manifest) == ({b"empty", b"same"}, set())
    assert known(store, manifest_of(tree)) == ({b"empty", b"same"}, {b"changed", b"spoilt"})


def test_what_lands_elsewhere_or_is_gone_is_not_known(tree: Path) -> None:
    store = store_of(tree)
    (tree / "same").rename(tree / "renamed")
    (tree / "changed").unlink()
    assert known(store, manifest_of(tree)) == ({b"empty", b"spoilt"}, set())


def test_nothing_with_content_is_known_of_a_store_that_holds_nothing(tree: Path) -> None:
    assert known(store_of(tree, held=False), manifest_of(tree)) == ({b"empty"}, set())


def test_nothing_is_known_where_it_was_not_noted_what_it_looked_like(tree: Path) -> None:
    manifest = manifest_of(tree)
    store = Store(Root(bytes(tree)), manifest, Bitmap.filled(manifest.layout.chunk_count))
    assert known(store, manifest) == (set(), set())


def test_a_chunk_is_certain_when_its_last_doubtful_file_was_read(tree: Path) -> None:
    layout = manifest_of(tree).layout
    believed = Unverified(layout, [0, 2])
    together = [chunk for chunk in layout.file_chunks(0) if chunk in layout.file_chunks(2)]
    assert [chunk in together for chunk in believed.confirmed(0)].count(True) == 0
    assert set(together) <= set(believed.confirmed(2))
