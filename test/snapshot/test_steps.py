"""What scanning and hashing count, so that somebody else sees whether they get on."""

from __future__ import annotations

from pathlib import Path

from test.support.snapshots import scanned
from xget_lib.fs.rooted import Root
from xget_lib.snapshot.hash import hash_pieces
from xget_lib.snapshot.steps import Steps


def test_each_name_and_each_piece_is_a_step(tree: Path) -> None:
    steps = Steps()
    found = scanned(tree, steps=steps)
    assert steps.done == len(found.entries) - 1
    with Root(found.base) as root:
        hash_pieces(root, found, 0, found.layout.piece_count, steps)
    assert steps.done == len(found.entries) - 1 + found.layout.piece_count
