"""Which processes of this machine are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from xget_lib.control.local_choice import chosen, described
from xget_lib.process.local_processes import CHILD, DOWNLOAD, MASTER, LocalProcess
from xget_lib.process.runtime_directory import Place

PLACE = Place("/run/xget/x", "x", 0, b"")
HEAD = LocalProcess(PLACE, MASTER, 1, 20004, "/srv", "")
RUNNING = LocalProcess(PLACE, DOWNLOAD, 2, 4000, "/dest", "head:20004")
SERVING = LocalProcess(PLACE, CHILD, 3, 4001, "/other", "head:20004")
LONG = LocalProcess(PLACE, CHILD, 4, 4002, "…/the/end", "head:20004")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], [HEAD, RUNNING, SERVING, LONG]),
        (["master"], [HEAD]),
        (["client"], [RUNNING, SERVING, LONG]),
        (["child"], [SERVING, LONG]),
        (["4001"], [SERVING]),
        (["/dest"], [RUNNING]),
        (["/dest/"], [RUNNING]),
        (["/de"], []),
        (["child", "/dest"], []),
        (["child", "4001", "/other"], [SERVING]),
        (["/a/very/long/way/to/the/end"], [LONG]),
    ],
)
def test_all_words_must_fit(words: list[str], meant: list[LocalProcess]) -> None:
    assert chosen([HEAD, RUNNING, SERVING, LONG], words) == meant


def test_a_path_is_relative_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = LocalProcess(PLACE, CHILD, 3, 4001, str(tmp_path / "dest"), "head:20004")
    assert chosen([there], ["dest"]) == [there]


def test_a_process_in_a_message() -> None:
    assert described(HEAD) == "master of /srv, process 1, port 20004"
