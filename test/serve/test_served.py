"""A manifest as it is served: ranges of a file without a name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.backends import bytes_of, served
from test.support.downloads import manifest_of
from xget_lib.serve.served import EncodedManifest, Served


@pytest.fixture
def content(tmp_path: Path) -> Served:
    (tmp_path / "large").write_bytes(b"L" * 40_000)
    (tmp_path / "small").write_bytes(b"small")
    return served(tmp_path, manifest_of(tmp_path))


def test_the_manifest_is_sent_from_its_file(content: Served) -> None:
    assert bytes_of(content.manifest.read(1, 10)) == content.store.manifest.encode()[1:11]


def test_a_manifest_on_its_way_outlives_its_generation(content: Served) -> None:
    encoded = content.store.manifest.encode()
    read = EncodedManifest.of(encoded).read(0, 9)
    with open(os.devnull, "rb"):
        assert bytes_of(read) == encoded[:9]


def test_a_read_behind_the_end_is_empty(content: Served) -> None:
    assert content.manifest.read(content.manifest.size, 1) == content.manifest.read(2**64 - 1, 1) == b""
