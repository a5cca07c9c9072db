"""Snapshots of directories, made in one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from xget_lib.fs.rooted import Root
from xget_lib.manifest.decoding import decode
from xget_lib.manifest.manifest import Manifest
from xget_lib.snapshot.assemble import assemble, without_unreadable
from xget_lib.snapshot.hash import HashedPieces, hash_pieces
from xget_lib.snapshot.scan import Scan, scan

as_root = pytest.mark.root


def scanned(path: Path, **options: Any) -> Scan:
    return scan(os.fsencode(path), **options)


def hashed(found: Scan, first: int = 0, end: int | None = None) -> HashedPieces:
    with Root(found.base) as root:
        return hash_pieces(root, found, first, found.layout.piece_count if end is None else end)


def digests(found: Scan, first: int = 0, end: int | None = None) -> bytes:
    """Of files that can all be read and have not changed."""
    result = hashed(found, first, end)
    assert not result.unreadable
    assert not result.changed
    return result.digests


def assembled(found: Scan) -> Manifest:
    """The manifest, as a client gets it."""
    result = hashed(found)
    assert not result.changed
    encoded = assemble(*without_unreadable(found, result.digests, result.unreadable)).encode()
    manifest = decode(encoded)
    assert manifest.encode() == encoded
    return manifest


def kinds(found: Scan) -> dict[bytes, str]:
    return {entry.path: entry.kind for entry in found.entries}
