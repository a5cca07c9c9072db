"""Manifests of scans: the same tree gives the same manifest, and what cannot be read is left out with the reason."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from blake3 import blake3

from test.support.snapshots import assembled, digests, hashed, kinds, scanned
from xget_lib.errors import PathRefused
from xget_lib.snapshot.assemble import assemble, without_unreadable
from xget_lib.snapshot.hash import UNKNOWN_DIGEST


def test_the_same_directory_gives_the_same_manifest_and_the_digests_of_its_bytes(tree: Path) -> None:
    found = scanned(tree)
    manifest = assembled(found)
    assert assembled(scanned(tree)).encode() == manifest.encode()
    for number in range(manifest.layout.piece_count):
        piece = manifest.layout.piece(number)
        data = (Path(os.fsdecode(os.path.join(found.base, found.path_of(piece.file))))).read_bytes()
        assert manifest.digest(number) == blake3(data[piece.file_offset :][: piece.length]).digest()


def test_digests_of_another_number_of_pieces_are_an_error(tree: Path) -> None:
    found = scanned(tree)
    with pytest.raises(ValueError, match="digests for"):
        assemble(found, digests(found)[:-1])


def test_what_is_unreadable_is_omitted_with_the_reason(unprivileged: Path) -> None:
    (unprivileged / "closed").mkdir()
    (unprivileged / "closed" / "x").write_bytes(b"x")
    (unprivileged / "closed").chmod(0)
    for name in ("open", "unreadable", "wide"):
        (unprivileged / name).write_bytes(b"x" * 70_000)
    os.link(unprivileged / "unreadable", unprivileged / "v")
    os.link(unprivileged / "wide", unprivileged / "x")
    (unprivileged / "unreadable").chmod(0)
    found = scanned(unprivileged)
    known, unreadable, _ = hashed(found)
    assert {found.path_of(file): why for file, why in unreadable.items()} == {b"unreadable": "Permission denied"}
    assert known.count(UNKNOWN_DIGEST) == 2
    manifest = assembled(found)
    assert [each.path for each in manifest.unreadable] == [b"closed", b"unreadable", b"v"]
    assert {each.why for each in manifest.unreadable} == {"Permission denied"}
    assert kinds(found).keys() - {entry.path for entry in manifest.entries} == {b"unreadable", b"v"}
    assert [entry.target for entry in manifest.entries if entry.kind == "h"] == [b"wide"]
    left, _ = without_unreadable(found, known, unreadable)
    assert [left.stamp(file)[0] for file in range(2)] == [70_000] * 2
    (unprivileged / "closed").chmod(0o700)


def test_an_io_error_omits_the_file_with_all_its_names(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scanned(tree)
    read = os.preadv

    def broken(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if os.fstat(descriptor).st_size == 300_000 and offset >= 131072:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", broken)
    manifest = assembled(found)
    assert [each.path for each in manifest.unreadable] == [b"a/also", b"a/large", b"z"]
    assert manifest.entries.find(b"a.txt")
    with pytest.raises(PathRefused, match="Input/output"):
        assembled(scanned(tree / "z"))
