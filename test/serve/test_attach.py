"""An attach gets the namespace that its aname names."""

from __future__ import annotations

import pytest

from test.support.memory_tree import MemoryFile, MemoryTree
from xget_lib.errors import NinepError
from xget_lib.serve.attach import attach


def test_an_aname_chooses_its_tree_which_is_made_anew_for_each_attach() -> None:
    made: list[MemoryFile] = []

    def swarm() -> MemoryFile:
        made.append(MemoryTree().root)
        return made[-1]

    files = MemoryTree().root
    choose = attach({"files": lambda: files, "swarm": swarm})
    roots = [choose("9P2000", "glenda", "swarm"), choose("9P2000", "", "swarm")]
    assert len(made) == 2 and all(root is each for root, each in zip(roots, made, strict=True))
    assert choose("9P2000", "", "files") is files


def test_no_aname_is_that_of_c_clients() -> None:
    root = MemoryTree().root
    choose = attach({"classic": lambda: root, "files": lambda: MemoryTree().root})
    assert choose("9P2000", "root", "") is choose("9P2000.u", "root", "") is root


@pytest.mark.parametrize("aname", ["swarms", "SWARM", "files/deep", "..", "/"])
def test_another_name_is_refused_with_a_list_of_those_there_are(aname: str) -> None:
    choose = attach({"swarm": lambda: MemoryTree().root, "files": lambda: MemoryTree().root})
    with pytest.raises(NinepError, match="files, swarm"):
        choose("9P2000", "", aname)


def test_no_name_is_files_where_classic_is_not_installed() -> None:
    files = MemoryTree().root
    choose = attach({"files": lambda: files})
    assert choose("9P2000", "glenda", "") is files
