"""A manifest as it is served: ranges of a file without a name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.backends import served
from test.support.downloads import manifest_of
from xget_lib.ninep.file import Content
from xget_lib.serve.served import Encoded, Served
from xget_lib.serve.store import OpenExtent


@pytest.fixture
def content(tmp_path: Path) -> Served:
    (tmp_path / "large").write_bytes(b"L" * 40_000)
    (tmp_path / "small").write_bytes(b"small")
    return served(tmp_path, manifest_of(tmp_path))


def parts(read: bytes | Content) -> list[bytes | OpenExtent]:
    assert isinstance(read, Content)
    return list(read.source.open())  # type: ignore[attr-defined]


def test_the_manifest_is_sent_from_its_file(content: Served) -> None:
    (extent,) = parts(content.manifest.read(1, 10))
    assert isinstance(extent, OpenExtent)
    encoded = content.store.manifest.encode()
    assert os.pread(extent.fd, extent.length, extent.offset) == encoded[1:11]
    os.close(extent.fd)


def test_a_manifest_on_its_way_outlives_its_generation(content: Served) -> None:
    encoded = content.store.manifest.encode()
    read = Encoded.of(encoded).read(0, 9)
    with open(os.devnull, "rb"):
        (extent,) = parts(read)
    assert isinstance(extent, OpenExtent)
    assert os.pread(extent.fd, extent.length, extent.offset) == encoded[:9]
    os.close(extent.fd)


def test_a_read_behind_the_end_is_empty(content: Served) -> None:
    assert content.manifest.read(content.manifest.size, 1) == content.manifest.read(2**64 - 1, 1) == b""
