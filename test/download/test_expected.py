"""Whether a stat shows the metadata that a file is to have."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from xget_lib.download.expected import Expected

MODE = stat.S_IFREG | 0o640


@pytest.mark.parametrize(
    ("mode", "owner", "trusted", "fits"),
    [
        (MODE, (os.geteuid(), os.getegid()), (1, 2), True),
        (None, (os.geteuid(), os.getegid()), (1, 2), True),
        (stat.S_IFREG | 0o600, (os.geteuid(), os.getegid()), (1, 2), False),
        (MODE, (os.geteuid() + 1, os.getegid()), (1, 2), False),
        (MODE, None, (os.geteuid(), 2), True),
        (MODE, None, (1, os.geteuid()), True),
        (MODE, None, (os.geteuid() + 1, os.geteuid() + 2), False),  # whoever owns it may have written it
    ],
)
def test_mode_and_owner_are_compared(
    mode: int | None, owner: tuple[int, int] | None, trusted: tuple[int, int], fits: bool, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    assert Expected(mode, owner, (), trusted).fits(path.stat()) is fits
