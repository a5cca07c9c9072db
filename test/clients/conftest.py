"""What all clients read: a directory with everything in it, and a master that serves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master
from test.support.trees import mixed_tree, noise, write


@pytest.fixture(scope="module")
def source(shared_cluster: Cluster) -> Path:
    root = mixed_tree(shared_cluster.base / "served", files=60)
    write(root / "large", noise(3_000_001, 8))
    write(root / "odd" / "ünïcödé", b"a name in letters of all kinds\n")
    return root


@pytest.fixture(scope="module")
def master(shared_cluster: Cluster, source: Path) -> Master:
    return shared_cluster.master(source)
