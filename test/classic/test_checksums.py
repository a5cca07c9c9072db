"""Checksums are computed once for all requests, and kept as long as the content is the same."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from test.support.backends import served
from test.support.downloads import manifest_of
from test.support.network import quiet_hub, until
from xget_lib.classic import checksums
from xget_lib.classic.checksums import EMPTY, Checksums, extended
from xget_lib.classic.files import Regular
from xget_lib.errors import StaleGeneration
from xget_lib.ninep.file import WAITING
from xget_lib.serve.synthetic import DeferredText

CONTENT = bytes(at % 253 for at in range(300_000))


class Asker:
    """A client that reads a `checksum`."""

    def __init__(self, known: Checksums, file: Regular, host: str = "10.0.0.1") -> None:
        self.retries = 0
        self._answer = DeferredText(lambda answer: known.ask(host, file, answer, self._retry))

    def reads(self) -> object:
        return self._answer.read(0, 128)

    def _retry(self) -> None:
        self.retries += 1


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    with quiet_hub():
        yield


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths of the files whose checksum was computed."""
    paths: list[bytes] = []
    compute = checksums._compute

    def noting(file: Regular) -> int:
        paths.append(file.path)
        return compute(file)

    monkeypatch.setattr(checksums, "_compute", noting)
    return paths


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "image").write_bytes(CONTENT)
    (tmp_path / "other").write_bytes(b"other")
    return tmp_path


def file_of(directory: Path, path: bytes = b"image", *, stale: list[bytes] | None = None) -> Regular:
    here = served(directory, manifest_of(directory))
    here.store.on_stale = (stale if stale is not None else []).append
    return Regular.find(here, path)


def test_many_requests_at_once_cost_one_computation(
    directory: Path, computed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_SLICE", 70_000)
    known, file = Checksums(), file_of(directory)
    askers = [Asker(known, file) for _ in range(5)]
    assert [asker.reads() for asker in askers] == [WAITING] * 5
    until(lambda: all(asker.retries for asker in askers))
    assert [asker.reads() for asker in askers] == [str(zlib.adler32(CONTENT)).encode()] * 5
    assert computed == [b"image"]


def test_a_host_that_asks_for_all_files_delays_another_by_one(tmp_path: Path, computed: list[bytes]) -> None:
    for number in range(20):
        (tmp_path / f"file{number:02d}").write_bytes(b"%d" % number)
    known = Checksums()
    files = [file_of(tmp_path, b"file%02d" % number) for number in range(20)]
    greedy = [Asker(known, file, "10.0.0.9") for file in files]
    assert [asker.reads() for asker in greedy] == [WAITING] * 20
    others = [Asker(known, files[19]), Asker(known, files[18])]
    assert [asker.reads() for asker in others] == [WAITING] * 2
    until(lambda: all(asker.retries for asker in (*greedy, *others)))
    assert computed[:4] == [b"file00", b"file19", b"file01", b"file18"]
    assert sorted(computed) == [file.path for file in files], "each once"


def test_a_checksum_is_kept_while_the_content_is_the_same(directory: Path, computed: list[bytes]) -> None:
    known = Checksums()

    def ask() -> object:
        asker = Asker(known, file_of(directory))
        if asker.reads() is WAITING:
            until(lambda: asker.retries)
        return asker.reads()

    first = ask()
    (directory / "other").write_bytes(b"another generation")
    assert ask() == first and len(computed) == 1
    (directory / "image").write_bytes(CONTENT[::-1])
    assert ask() == str(zlib.adler32(CONTENT[::-1])).encode() and len(computed) == 2


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_file_that_changed_has_no_checksum(directory: Path, size: int) -> None:
    known, stale = Checksums(), list[bytes]()
    file = file_of(directory, stale=stale)
    os.truncate(directory / "image", size - 1)
    asker = Asker(known, file)
    assert asker.reads() is WAITING
    until(lambda: asker.retries)
    with pytest.raises(StaleGeneration):
        asker.reads()
    assert stale == [b"image"]
    gevent.sleep(0)
    with pytest.raises(StaleGeneration):
        again = Asker(known, file)
        again.reads()
        until(lambda: again.retries)
        again.reads()


# The computation.


@pytest.fixture
def descriptor(tmp_path: Path, request: pytest.FixtureRequest) -> int:
    (tmp_path / "file").write_bytes(bytes(at % 253 for at in range(10_000)))
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    request.addfinalizer(lambda: os.close(descriptor))
    return descriptor


@pytest.mark.parametrize("step", [1, 999, 10_000, 1 << 20])
def test_the_checksum_is_the_adler_32_in_steps_of_any_size(
    descriptor: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_BUFFER", step)
    data = bytes(at % 253 for at in range(10_000))
    whole = extended(EMPTY, descriptor, 0, 10_000)
    assert whole == zlib.adler32(data)
    half = extended(EMPTY, descriptor, 0, 5_000)
    assert half is not None and extended(half, descriptor, 5_000, 5_000) == whole


def test_the_checksum_is_1_for_no_bytes(descriptor: int) -> None:
    assert extended(EMPTY, descriptor, 0, 0) == EMPTY == zlib.adler32(b"")


def test_a_range_behind_the_end_of_a_file_has_no_checksum(descriptor: int) -> None:
    assert extended(EMPTY, descriptor, 9_000, 1_001) is None
