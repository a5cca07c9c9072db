"""What a server keeps of the generations that it served before: not more than some, whatever clients have open."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from test.support.backends import RecordingBackend, content, parts_of, served
from test.support.downloads import manifest_of
from xget_lib.errors import RetiredGeneration
from xget_lib.ninep.file import WAITING
from xget_lib.ninep.messages import OREAD
from xget_lib.serve.served import KEPT, LastGenerations, Served
from xget_lib.serve.swarm import master_tree


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
        assert content(parts_of(data.read(0, 9))) == b"content 0"
        assert have.read(0, 1000)
        assert have.read(0, 1000) is WAITING
        opened.append((data, have))
        backend.served = generation(tmp_path, number)
    gc.collect()
    assert sum(store() is not None for store in stores) == KEPT
    data, have = opened[-KEPT]
    assert content(parts_of(data.read(0, 9))) == b"content 0"
    for handle in opened[0]:
        with pytest.raises(RetiredGeneration):
            handle.read(0, 9)
