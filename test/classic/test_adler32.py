"""The checksum that C clients compare."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from xget_lib.classic import adler32
from xget_lib.classic.adler32 import EMPTY, extended


@pytest.fixture
def descriptor(tmp_path: Path, request: pytest.FixtureRequest) -> int:
    (tmp_path / "file").write_bytes(bytes(at % 253 for at in range(10_000)))
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    request.addfinalizer(lambda: os.close(descriptor))
    return descriptor


@pytest.mark.parametrize("step", [1, 999, 10_000, 1 << 20])
def test_it_is_the_adler_32_however_it_is_read(descriptor: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adler32, "_STEP", step)
    data = bytes(at % 253 for at in range(10_000))
    whole = extended(EMPTY, descriptor, 0, 10_000)
    assert whole == zlib.adler32(data)
    half = extended(EMPTY, descriptor, 0, 5_000)
    assert half is not None and extended(half, descriptor, 5_000, 5_000) == whole


def test_it_is_1_for_no_bytes(descriptor: int) -> None:
    assert extended(EMPTY, descriptor, 0, 0) == EMPTY == zlib.adler32(b"")


def test_a_file_that_is_too_short_has_none(descriptor: int) -> None:
    assert extended(EMPTY, descriptor, 9_000, 1_001) is None
