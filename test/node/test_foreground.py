"""What the foreground half refuses before it forks. What it shows later is in test_command.py and test/end_to_end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from test.support.nodes import configured
from xget_lib.errors import Exit
from xget_lib.node import foreground

CONFIG = replace(configured(1), host="127.0.0.1")


@pytest.fixture(autouse=True)
def no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    def forked() -> int:
        raise AssertionError("forked")

    monkeypatch.setattr("os.fork", forked)


def test_an_invalid_source_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert foreground.run(CONFIG, [b"a", b"../b"], b"/dest") == Exit.USAGE
    assert capsys.readouterr() == ("", "xget: ../b: a source must not contain ..\n")


def test_a_log_that_cannot_be_written_is_refused_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = replace(CONFIG, log=str(tmp_path / "none" / "log"), json=True)
    assert foreground.run(config, [b"."], b"/dest") == Exit.FAILED
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["error", "done"]
    assert (events[0]["message"], events[1]["exit"]) == (f"log file {config.log}: No such file or directory", 1)


def test_a_relative_destination_in_a_removed_directory_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert foreground.run(CONFIG, [b"."], b"dest") == Exit.USAGE
    assert "dest: the current directory does not exist any more" in capsys.readouterr().err
