"""What a server serves: a manifest, as ranges of a file without a name, and no more than the last generations."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import pytest

from test.support.backends import RecordingBackend, bytes_of, served
from test.support.downloads import manifest_of
from xget_lib.errors import RetiredGeneration
from xget_lib.ninep.file import WAITING
from xget_lib.ninep.messages import OREAD
from xget_lib.serve.served import KEPT, EncodedManifest, LastGenerations, Served
from xget_lib.serve.swarm import master_tree


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


def generation(directory: Path, number: int) -> Served:
    directory.mkdir(exist_ok=True)
    (directory / f"file{number}").write_bytes(b"content %d" % number)
    return served(directory, manifest_of(directory))


def test_files_that_clients_have_open_keep_no_more_than_the_last_generations(tmp_path: Path) -> None:
    """A client that opened `data` of each generation, and kept it open, kept 150 bytes for each file and generation."""
    last = LastGenerations()
    backend = RecordingBackend(generation(tmp_path, 0))
    stores: list[weakref.ref[object]] = []
    opened = []
    for number in range(1, 3 * KEPT):
        assert backend.served is not None
        last.add(backend.served)
        stores.append(weakref.ref(backend.served.store))
        data, have = (master_tree(backend).walk(name).open(OREAD) for name in ("data", "have"))
        assert bytes_of(data.read(0, 9)) == b"content 0"
        assert have.read(0, 1000)
        assert have.read(0, 1000) is WAITING
        opened.append((data, have))
        backend.served = generation(tmp_path, number)
    gc.collect()
    assert sum(store() is not None for store in stores) == KEPT
    data, have = opened[-KEPT]
    assert bytes_of(data.read(0, 9)) == b"content 0"
    for handle in opened[0]:
        with pytest.raises(RetiredGeneration):
            handle.read(0, 9)
