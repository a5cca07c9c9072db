"""Free space: counted before the download, and what happens when it runs out all the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, finish, inspect, manifest_of, present
from xget_lib.download.free_space import amount, check_free_space
from xget_lib.errors import DestinationRefused


def test_space_is_counted_in_blocks_and_files(tmp_path: Path) -> None:
    def check(blocks: int, files: int) -> None:
        available = os.statvfs_result((4096, 4096, 1000, 1000, blocks, 1000, 1000, files, 0, 255))
        check_free_space(bytes(tmp_path), available, (1, 4096, 4097, 0))

    check(blocks=4, files=4)
    with pytest.raises(DestinationRefused, match="disk full: needs 16 KiB, has 12 KiB free"):
        check(blocks=3, files=4)
    with pytest.raises(DestinationRefused, match="disk full: needs 4 files, has room for 3"):
        check(blocks=4, files=3)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 30, "5 GiB"), (3 << 40, "3 TiB")]
)
def test_amounts_are_for_people(size: int, text: str) -> None:
    assert amount(size) == text


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    (tmp_path / "tiny").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "tiny")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    yield tmp_path / "tiny"
    subprocess.run(["umount", str(tmp_path / "tiny")], check=True)


def test_a_disk_that_fills_up_refuses_and_keeps_what_was_written(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/large").write_bytes(os.urandom(2 << 20))
    served = Served(tmp_path / "served")
    with served.download(tiny / "dest") as download:
        inspect(download)
        with pytest.raises(DestinationRefused, match="disk full: needs 2 MiB, has 1"):
            download.check_free_space()
        with pytest.raises(DestinationRefused, match="large: disk full"):
            fetch(download, served)
        written = present(download, served.layout)
        assert 10 < len(written) <= 16
    subprocess.run(["mount", "-o", "remount,size=4m", str(tiny)], check=True)
    with served.download(tiny / "dest") as download:
        inspect(download)
        assert present(download, served.layout) == written
        download.check_free_space()
        fetch(download, served)
        finish(download)
    assert manifest_of(tiny / "dest").generation == served.manifest.generation
