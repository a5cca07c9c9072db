"""Ranges of a generation, from the question whether they are held to the descriptors that are sent."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from test.support.backends import served
from test.support.downloads import manifest_of
from xget_lib.errors import NotHeld, StaleGeneration
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


def test_large_parts_are_descriptors_and_small_ones_bytes(content: Served) -> None:
    extent, rest = parts(content.read_data(1, 100_000))
    assert isinstance(extent, OpenExtent)
    assert (extent.offset, extent.length, rest) == (1, 39_999, b"small")
    assert os.pread(extent.fd, 3, extent.offset) == b"LLL"
    os.close(extent.fd)


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
    assert content.read_data(40_005, 1) == content.read_data(2**64 - 1, 2**32 - 1) == b""
    assert content.manifest.read(content.manifest.size, 1) == content.manifest.read(2**64 - 1, 1) == b""


def test_a_file_that_changed_is_told_of_and_held_no_more(content: Served, tmp_path: Path) -> None:
    told: list[bytes] = []
    watched = replace(content, on_stale=told.append)
    read = watched.read_data(0, 40_000)
    (tmp_path / "large").write_bytes(b"shorter")
    with pytest.raises(StaleGeneration):
        parts(read)
    assert told == [b"large"]
    with pytest.raises(NotHeld):
        watched.read_data(0, 1)


def test_what_is_dropped_while_a_reply_waits_is_not_sent(content: Served) -> None:
    read = content.read_data(0, 40_000)
    content.store.drop(0)
    with pytest.raises(NotHeld):
        parts(read)
