"""A small change in a directory of many files costs little on the wire: the manifest is not read whole again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Ended, Master, Server, eventually, unseen_child
from test.support.large_swarm import large_swarm
from test.support.relay import Relay
from test.support.trees import differences
from xget_lib.manifest.assembly import SMALL
from xget_lib.manifest.index import Index, verify


class Counter(Relay):
    """Counts the bytes that come from the server."""

    def __init__(self, server_port: int, *, hold_after: int | None = None) -> None:
        self.passed = 0
        self._lock = threading.Lock()
        super().__init__(server_port, hold_after=hold_after, alter=self._count)

    def _count(self, data: bytes) -> bytes:
        with self._lock:
            self.passed += len(data)
        return data


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files of 6 bytes, whose manifest has some 200 KB."""
    root = tmp_path / "served"
    for directory in range(30):
        (root / f"{directory:03}").mkdir(parents=True)
        for number in range(100):
            (root / f"{directory:03}" / f"file-{directory:03}-{number:03}").write_text(f"{directory:03}{number:03}")
    return root


def change(source: Path) -> None:
    (source / "015" / "!new").write_text("one more")
    (source / "020" / "file-020-050").write_text("another text")
    (source / "025" / "file-025-010").unlink()


def changed(master: Master, source: Path) -> None:
    """The master has published the change."""
    before = master.status()["generation"]
    change(source)
    eventually(lambda: master.status()["generation"] != before, "no new generation")


def run(cluster: Cluster, server: Server, *options: str, cache: str = "cache") -> Ended:
    environment = {"XDG_CACHE_HOME": str(cluster.base / cache)}
    return cluster.get(server, cluster.base / "dest", options=["--delete", *options], environment=environment)


def cached(cluster: Cluster) -> Path:
    (file,) = (cluster.base / "cache" / "xget").glob("manifest-*")
    return file


def test_the_next_run_reads_what_has_changed(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with Counter(master.port) as first:
        assert run(cluster, first).status == 0
    size = cached(cluster).stat().st_size
    assert 2 * SMALL < size < first.passed
    changed(master, source)
    with Counter(master.port) as second:
        ended = run(cluster, second)
    assert (ended.status, ended.stderr) == (0, "")
    assert second.passed < size // 2
    assert differences(source, cluster.base / "dest") == []
    assert Index.of(cached(cluster).read_bytes()).generation.hex() == ended.done["generation"]


def test_a_run_without_a_change_reads_nothing_of_the_manifest(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    assert run(cluster, master).status == 0
    modified = cached(cluster).stat().st_mtime_ns
    with Counter(master.port) as counter:
        assert run(cluster, counter).status == 0
    assert counter.passed < 10_000
    assert cached(cluster).stat().st_mtime_ns == modified


@pytest.mark.parametrize("damage", ["cut off", "other bytes", "not there"])
def test_a_damaged_manifest_in_the_cache_costs_no_more_than_none(cluster: Cluster, source: Path, damage: str) -> None:
    master = cluster.master(source)
    assert run(cluster, master).status == 0
    file = cached(cluster)
    if damage == "cut off":
        os.truncate(file, file.stat().st_size // 2)
    elif damage == "other bytes":
        spoilt = bytearray(file.read_bytes())
        spoilt[len(spoilt) // 2 :: 1000] = b"x" * len(spoilt[len(spoilt) // 2 :: 1000])
        file.write_bytes(spoilt)
    else:
        file.unlink()
    assert run(cluster, master).status == 0
    verify(file.read_bytes())  # it is right again
    if damage == "other bytes":
        file.write_bytes(spoilt)
    changed(master, source)
    ended = run(cluster, master)
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []


def test_a_follower_reads_what_has_changed(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    dest = cluster.base / "dest"
    with Counter(master.port) as counter:
        client = cluster.client(counter, dest, options=["--follow", "--delete"])
        client.background()
        assert client.ended().status == 0
        before = counter.passed
        assert before > 2 * SMALL
        change(source)
        eventually(lambda: differences(source, dest) == [], "it does not follow")
        assert counter.passed - before < before // 2


def test_what_has_changed_comes_from_a_peer(cluster: Cluster, source: Path) -> None:
    """The master gives the news, and no manifest."""
    master = cluster.master(source)
    assert run(cluster, master).status == 0
    size = cached(cluster).stat().st_size
    changed(master, source)
    _, port = unseen_child(cluster, master, cluster.base / "first")
    with Counter(port) as giving, large_swarm(master, giving.port), Relay(master.port, hold_after=3000) as relay:
        ended = run(cluster, relay)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.done["from_master"] == 0
    assert giving.passed < size // 2
    assert differences(source, cluster.base / "dest") == []


def test_peers_that_have_only_the_older_generation_do_no_harm(cluster: Cluster, source: Path) -> None:
    """They do not hear of the new one. What a new node needs of it comes from the master."""
    master = cluster.master(source)
    _, port = unseen_child(cluster, master, cluster.base / "first")
    changed(master, source)
    with large_swarm(master, port):
        ended = run(cluster, master)
    assert (ended.status, ended.stderr) == (0, "")
    assert differences(source, cluster.base / "dest") == []
