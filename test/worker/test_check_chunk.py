"""A chunk that a node says is wrong is compared with the disk."""

from __future__ import annotations

import os
from pathlib import Path

from test.support.downloads import manifest_of
from test.support.trees import noise, write
from xget_lib.fs.rooted import Root
from xget_lib.worker.check_chunk import wrong_files


def test_files_that_are_not_as_in_the_manifest_or_cannot_be_read_are_wrong(tmp_path: Path) -> None:
    names = [f"file{number}" for number in range(5)]
    for number, name in enumerate(names):
        write(tmp_path / name, noise(1000, number))
    manifest = manifest_of(tmp_path)
    chunks = range(manifest.layout.chunk_count)

    def wrong() -> list[bytes]:
        with Root(bytes(tmp_path)) as root:
            return sorted({path for chunk in chunks for path in wrong_files(manifest, root, b"", chunk)[1]})

    assert wrong() == []
    os.truncate(tmp_path / "file1", 500)
    write(tmp_path / "file2", noise(1000, 99))
    (tmp_path / "file3").unlink()
    assert wrong() == [b"file1", b"file2", b"file3"]


def test_the_first_file_of_a_chunk_is_named_and_one_served_file_has_its_name_below_the_directory(
    tmp_path: Path,
) -> None:
    write(tmp_path / "file", noise(1000, 1))
    manifest = manifest_of(tmp_path)
    (tmp_path / "file").rename(tmp_path / "other")
    with Root(bytes(tmp_path)) as root:
        assert wrong_files(manifest, root, b"other", 0) == (b"other", [])
        assert wrong_files(manifest, root, b"", 0) == (b"file", [b"file"])
