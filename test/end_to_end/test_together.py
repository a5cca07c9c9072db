"""Clients that start together: every copy right, the master's link spent little more than once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.cluster import Cluster, eventually
from test.support.trees import differences, mixed_tree, noise, write

CLIENTS = 8
MIB = 1 << 20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files, everything peculiar, and one large file."""
    root = mixed_tree(tmp_path_factory.mktemp("source") / "served")
    kept = os.stat(root)
    write(root / "large", noise(64 * MIB, 9))
    os.utime(root, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    return root


def test_eight_clients_that_start_together_get_right_copies_and_give_to_each_other(
    cluster: Cluster, source: Path
) -> None:
    master = cluster.master(source)
    dests = [cluster.base / f"node{number}" for number in range(CLIENTS)]
    clients = [cluster.client(master, dest) for dest in dests]
    runs = [client.ended() for client in clients]
    assert [run.status for run in runs] == [0] * CLIENTS, [run.stderr for run in runs]
    assert {dest.name: differences(source, dest) for dest in dests} == {dest.name: [] for dest in dests}
    for done in (run.done for run in runs):
        assert done["fetched"] > done["from_master"], "a node took nothing from its peers"
        assert done["peers"] > 0
        # A chunk that is late is asked of two and may come twice; what comes last may not be counted any more.
        assert done["bytes"] <= done["fetched"] < 2 * done["bytes"]

    children = master.wait_for_children(CLIENTS)
    assert len({child["port"] for child in children}) == CLIENTS
    size = runs[0].done["bytes"]
    # What the workers have sent may reach the status only with their next sign of life.
    eventually(lambda: master.status()["sent"] >= size, "the master sent too little")
    assert master.status()["sent"] < 4 * size
    assert sum(run.done["from_master"] for run in runs) < 4 * size


def test_the_status_counts_small_files_too(cluster: Cluster) -> None:
    master = cluster.master(mixed_tree(cluster.base / "served", files=50))
    done = cluster.get(master, cluster.base / "dest").done
    eventually(lambda: master.status()["sent"] >= done["bytes"], "what was sent is counted")


def test_the_status_lists_every_child_and_what_it_holds(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    assert cluster.client(master, cluster.base / "all", ".").ended().status == 0
    assert cluster.client(master, cluster.base / "some", "odd").ended().status == 0
    eventually(lambda: len([child for child in master.children() if child["held"]]) == 2, "two children")
    status = master.status()
    held = sorted(child["held"] for child in status["children"])
    assert held[0] < held[1] == status["chunks"]
    printed = cluster.run("status", "-n", "127.0.0.1", "-p", str(master.port))
    assert (printed.status, printed.stderr) == (0, "")
    assert "2 nodes, 100 % done: 2 complete" in printed.stdout
    for child in status["children"]:
        assert f"{child['address']} port {child['port']}: " in printed.stdout
    assert f"100 % ({held[1]} of {held[1]} chunks)" in printed.stdout
    assert f"({held[0]} of {held[1]} chunks)" in printed.stdout

    child = cluster.run("status", "-n", "127.0.0.1", "-p", str(status["children"][0]["port"]), "--json").events[0]
    assert (child["role"], child["path"]) == ("child", str(cluster.base / "all"))
    assert child["held"] == status["chunks"]
