"""Directories by cookie: every name once, from any position."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from xget_lib.fs.readdir import listed


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    for number in range(500):
        (tmp_path / f"{number}-{'n' * 100}").touch()
    (tmp_path / "below").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_every_name_is_there_once(directory: int) -> None:
    found = list(listed(directory, 0))
    names = [each.name for each in found]
    assert sorted(names) == sorted([b".", b"..", *os.listdir(b"/proc/self/fd/%d" % directory)])
    (below,) = [each for each in found if each.name == b"below"]
    assert below.inode == os.stat("below", dir_fd=directory).st_ino
    assert below.type in (0, stat.S_IFDIR >> 12)


def test_a_listing_goes_on_after_any_cookie(directory: int) -> None:
    found = list(listed(directory, 0))
    for position in (0, 1, 250, len(found) - 1):
        assert list(listed(directory, found[position].cookie)) == found[position + 1 :]


@pytest.mark.parametrize("cookie", [-1, 1 << 63, (1 << 64) - 1])
def test_a_number_that_is_no_cookie_is_refused(directory: int, cookie: int) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        next(listed(directory, cookie))
