"""A scan that reads nothing for long is known to hang; work that needs no disk never is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from xget_lib.master import scan_progress
from xget_lib.master.scan_progress import Progress


def test_a_disk_hangs_if_nothing_is_read_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(scan_progress, "time", SimpleNamespace(monotonic=lambda: now))
    progress = Progress()
    assert progress.hangs == 0
    with progress.reading():
        assert progress.hangs == 0
        now += 9
        progress.got_on()
        now += 9
        assert progress.hangs == 0
        now += 2
        assert progress.hangs == 11
        progress.got_on()
        assert progress.hangs == 0
        now += 100
    assert progress.hangs == 0, "nothing is being read"


def test_the_share_that_is_hashed() -> None:
    progress = Progress()
    assert progress.percent == 0
    progress.pieces, progress.hashed = 200, 50
    assert progress.percent == 25
    progress.hashed = 300
    assert progress.percent == 100
