"""A lock file: one process at a time, nobody else can hold it, and nothing stays."""

from __future__ import annotations

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xget_lib.fs.lock_file import locked

PATIENT = 60.0


def test_nobody_else_can_open_it_and_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    former = os.umask(0)
    try:
        with locked(bytes(path), PATIENT):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(former)
    assert os.listdir(tmp_path) == []


def test_one_has_it_at_a_time(tmp_path: Path) -> None:
    path, inside, most = bytes(tmp_path / "lock"), [0], [0]

    def enter(_: int) -> None:
        with locked(path, PATIENT):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            os.listdir(tmp_path)  # another thread may run
            inside[0] -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(enter, range(200)))
    assert most == [1] and os.listdir(tmp_path) == []


def test_who_waits_for_longer_than_it_may_says_so(tmp_path: Path) -> None:
    path = bytes(tmp_path / "lock")
    with locked(path, PATIENT):
        with pytest.raises(TimeoutError, match="locked by another process"), locked(path, 0.0):
            pass
        assert os.listdir(tmp_path) == ["lock"]


def test_a_file_that_a_killed_process_left_is_used(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"")
    with locked(bytes(tmp_path / "lock"), PATIENT):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"")
    os.chown(path, 4711, 4711)
    with pytest.raises(PermissionError, match="belongs to another user"), locked(bytes(path), PATIENT):
        pass
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is not locked


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("other"), os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "lock")
    with pytest.raises(OSError), locked(bytes(tmp_path / "lock"), PATIENT):
        pass
    assert os.listdir(tmp_path) == ["lock"]
