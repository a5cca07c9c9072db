"""The files that loop devices write: what the kernel says of them in /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from xget_lib.fs import loop_devices


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loop_devices, "BLOCK_DEVICES", str(tmp_path))
    return tmp_path


def test_the_files_of_devices_that_can_be_written_are_found(devices: Path) -> None:
    for name, read_only, file in (("loop0", "0", "/srv/a b"), ("loop1", "1", "/srv/c"), ("sda", "0", "/srv/d")):
        (devices / name / "loop").mkdir(parents=True)
        (devices / name / "ro").write_text(read_only + "\n")
        (devices / name / "loop" / "backing_file").write_text(file + "\n")
    (devices / "loop2").mkdir()
    (devices / "loop2" / "ro").write_text("0\n")
    assert loop_devices.written_files() == [b"/srv/a b"]


def test_without_sys_there_are_none(devices: Path) -> None:
    devices.rmdir()
    assert loop_devices.written_files() == []
