"""Children of an older generation serve what is still the same in the new one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from test.support.cluster import Cluster, Master, eventually
from test.support.trees import MOMENT, differences, noise, write

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "served"
    (source / "a").mkdir(parents=True)
    write(source / "a" / "large", noise(12 * MIB, 1))
    write(source / "changes", noise(3 * MIB, 2))
    for number in range(20):
        write(source / f"small{number:02}", noise(1000, 3 + number))
    return source


@pytest.fixture
def master(cluster: Cluster, source: Path) -> Master:
    return cluster.master(source)


def look_again(master: Master) -> str:
    """Have the master find a change; the new generation."""
    before = master.status()["generation"]
    master.signal(signal.SIGHUP)
    generation: str = eventually(lambda: _other(master.status()["generation"], before), "a new generation")
    return generation


def _other(generation: str, before: str) -> str:
    return generation if generation != before else ""


def child_of(master: Master, generation: str) -> dict[str, Any]:
    """The one child, when it serves something of a generation."""
    children = eventually(
        lambda: [child for child in master.children() if child["generation"] == generation and child["held"]],
        "the child serves nothing of the new generation",
    )
    assert len(children) == 1
    return children[0]


def test_what_is_the_same_comes_from_an_old_child(cluster: Cluster, source: Path, master: Master) -> None:
    old = cluster.base / "old"
    assert cluster.client(master, old).ended().status == 0
    before = {path: path.lstat().st_ctime_ns for path in old.rglob("*")}
    write(source / "changes", noise(3 * MIB, 77), mtime=MOMENT + 1)
    write(source / "new", noise(1000, 78))
    generation = look_again(master)
    child = child_of(master, generation)
    assert 0 < child["held"] < master.status()["chunks"]

    sent = master.status()["sent"]
    new = cluster.base / "new node"
    done = cluster.get(master, new).done
    assert (done["exit"], done["generation"], done["peers"]) == (0, generation, 1)
    assert 0 < done["from_master"] < done["fetched"]
    assert master.status()["sent"] - sent < done["fetched"]
    assert differences(source, new) == []
    assert {path: path.lstat().st_ctime_ns for path in old.rglob("*")} == before  # its own files are as they were


def test_a_file_that_changed_at_the_child_is_not_carried_over(cluster: Cluster, source: Path, master: Master) -> None:
    old = cluster.base / "old"
    assert cluster.client(master, old).ended().status == 0
    with open(old / "a" / "large", "r+b") as file:
        file.write(b"not that")
    os.utime(old / "a" / "large", ns=(MOMENT, MOMENT))
    write(source / "changes", noise(3 * MIB, 77), mtime=MOMENT + 1)
    child_of(master, look_again(master))
    new = cluster.base / "new node"
    done = cluster.get(master, new).done
    assert done["exit"] == 0
    assert done["from_master"] >= 12 * MIB
    assert differences(source, new) == []
    assert "wrong content" not in master.log.read_text()


def test_generation_after_generation(cluster: Cluster, source: Path, master: Master) -> None:
    assert cluster.client(master, cluster.base / "old").ended().status == 0
    for number in range(2):
        write(source / "changes", noise(3 * MIB, 80 + number), mtime=MOMENT + 1 + number)
        child_of(master, look_again(master))
    write(source / "changes", noise(3 * MIB, 2))
    assert child_of(master, look_again(master))["held"] == master.status()["chunks"]
    done = cluster.get(master, cluster.base / "new node").done
    assert (done["exit"], done["peers"]) == (0, 1)


def test_nothing_is_the_same_any_more(cluster: Cluster, source: Path, master: Master) -> None:
    log = cluster.base / "old.log"
    assert cluster.client(master, cluster.base / "old", "changes", options=["--log", str(log)]).ended().status == 0
    (source / "changes").unlink()
    look_again(master)
    eventually(lambda: "cannot serve the new generation: changes: not served" in log.read_text(), "it is said")
    assert cluster.get(master, cluster.base / "new node").status == 0
