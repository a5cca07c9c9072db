"""A short campaign: each kind of change twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.campaigns import freshness


def test_each_kind_of_change_is_what_the_next_client_gets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert freshness.run(tmp_path, files=1000, changes=18, seed=1) == 0, capsys.readouterr().out
