"""Which manifest a node takes for the one that it had, and when it saves one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from test.support.changing_manifests import files_of, manifest_of
from xget_lib.download.last_manifest import load_manifest
from xget_lib.fs.rooted import Root
from xget_lib.manifest.assembly import SMALL
from xget_lib.manifest.index import Index
from xget_lib.node.former_manifest import FormerManifest
from xget_lib.serve.served import EncodedManifest

FIRST, SECOND = (manifest_of(files_of(Random(seed), directories=20, files=100)).encode() for seed in (1, 2))


def generation(data: bytes) -> bytes:
    return Index.of(data).generation


@pytest.fixture
def dest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "dest").mkdir()
    return tmp_path / "dest"


@pytest.fixture
def root(dest: Path) -> Iterator[Root]:
    with Root(bytes(dest)) as root:
        yield root


def known(former: FormerManifest, had: bytes | None = None) -> bytes | None:
    """The generation of what is known."""
    found = former.parts(len(FIRST), generation(FIRST), EncodedManifest.of(had) if had is not None else None)
    return found.generation if found is not None else None


def test_what_is_in_memory_comes_before_what_is_on_disk(dest: Path, root: Root) -> None:
    former = FormerManifest(bytes(dest))
    assert known(former) is None
    former.save(root, EncodedManifest.of(FIRST), generation(FIRST))
    assert known(former) == generation(FIRST)
    assert known(former, SECOND) == generation(SECOND)
    assert known(FormerManifest(bytes(dest))) == generation(FIRST)
    assert former.parts(SMALL, generation(FIRST), EncodedManifest.of(SECOND)) is None, "it is read whole anyway"


def test_it_is_saved_once(dest: Path, root: Root, tmp_path: Path) -> None:
    FormerManifest(bytes(dest)).save(root, EncodedManifest.of(FIRST), generation(FIRST))
    (file,) = (tmp_path / "cache" / "xget").iterdir()
    written = file.stat()
    next_run = FormerManifest(bytes(dest))
    known(next_run)
    next_run.save(root, EncodedManifest.of(FIRST), generation(FIRST))
    assert file.stat() == written
    next_run.save(root, EncodedManifest.of(SECOND), generation(SECOND))
    assert load_manifest(bytes(dest)) == SECOND


def test_a_damaged_one_is_saved_again(dest: Path, root: Root, tmp_path: Path) -> None:
    FormerManifest(bytes(dest)).save(root, EncodedManifest.of(FIRST), generation(FIRST))
    (file,) = (tmp_path / "cache" / "xget").iterdir()
    for damaged in (FIRST[:-1] + bytes([FIRST[-1] ^ 1]), FIRST[:1000], b""):
        file.write_bytes(damaged)
        next_run = FormerManifest(bytes(dest))
        known(next_run)
        next_run.save(root, EncodedManifest.of(FIRST), generation(FIRST))
        assert load_manifest(bytes(dest)) == FIRST


def test_small_ones_are_not_saved(dest: Path, root: Root) -> None:
    small = manifest_of(files_of(Random(3), directories=1, files=10)).encode()
    FormerManifest(bytes(dest)).save(root, EncodedManifest.of(small), generation(small))
    assert load_manifest(bytes(dest)) is None
