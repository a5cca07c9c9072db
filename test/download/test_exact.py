"""Exact copies without a network, by a user who is not root."""

from __future__ import annotations

from pathlib import Path

from test.support.downloads import Served, manifest_of, run_download
from test.support.oddities import odd_tree, rsync_says
from test.support.somebody import as_nobody


def test_a_copy_made_without_root_is_exact(open_to_all: Path) -> None:
    def make_and_copy() -> None:
        source = odd_tree(open_to_all / "served")
        served = Served(source)
        dest = open_to_all / "dest"
        zeros = 3 * 65536  # pieces of zeros are known by their digest, and not fetched
        assert run_download(served, dest) == served.layout.size - zeros
        for _ in range(2):
            assert rsync_says(source, dest) == []
            assert manifest_of(dest).generation == served.manifest.generation
            assert run_download(served, dest) == 0

    as_nobody(make_and_copy)
