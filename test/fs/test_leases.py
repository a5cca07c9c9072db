"""Files with leases: they are opened as soon as the other program gives the lease up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.leases import leased
from xget_lib.fs.leases import LeasePatience


def test_a_lease_that_is_given_up_costs_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with leased(path, gives_up=True):
        with pytest.raises(BlockingIOError):
            LeasePatience(0).open(lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        os.close(LeasePatience(60).open(lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK)))


def test_one_task_waits_for_so_long_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)

    def refuse() -> int:
        raise BlockingIOError

    patience = LeasePatience(5)
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            patience.open(refuse)
    assert sum(slept) == pytest.approx(5, abs=0.1)
