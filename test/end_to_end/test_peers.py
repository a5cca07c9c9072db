"""What peers do for each other without the master: they register with each other, and hand the manifest on."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.support.cluster import Cluster, eventually, unseen_child
from test.support.large_swarm import large_swarm, registration
from test.support.plain_client import PlainClient
from test.support.relay import MIB, Relay
from test.support.swarm_server import unused_address
from test.support.trees import differences, noise, small_tree, write
from xget_lib.swarm.messages import Registration


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = small_tree(tmp_path / "served")
    write(root / "large", noise(16 * MIB, 5))
    return root


def test_content_comes_from_a_peer_that_registered(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    _, port = unseen_child(cluster, master, cluster.base / "first")
    with Relay(master.port, hold_after=2 * MIB) as relay:
        client = cluster.client(relay, cluster.base / "dest", options=["--linger", "0"])
        relay.wait_until_it_holds()
        (child,) = eventually(master.children, "the client is registered")
        with PlainClient(child["port"], "swarm") as peer:
            # What is wrong must not harm who hears it: another generation, nobody there, itself.
            for wrong in (
                Registration(port, bytes(32), 0).encode(),
                registration(master, unused_address()[1]),
                registration(master, child["port"]),
            ):
                peer.write(peer.open("peers", mode=2), wrong)
            peer.write(peer.open("peers", mode=2), registration(master, port))
        # The master gives nothing more, and never heard of that peer.
        ended = client.ended()
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.done["from_master"] <= 2 * MIB
    assert differences(source, cluster.base / "dest") == []


def test_in_a_large_swarm_the_manifest_comes_from_a_peer(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    _, port = unseen_child(cluster, master, cluster.base / "first")
    with (
        Relay(port) as giving,
        large_swarm(master, giving.port),
        # Enough for the news, and not for the manifest.
        Relay(master.port, hold_after=3000) as relay,
    ):
        ended = cluster.get(relay, cluster.base / "dest")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.done["from_master"] == 0
    assert differences(source, cluster.base / "dest") == []


def test_where_no_peer_has_anything_it_comes_from_the_master(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source)
    with large_swarm(master, unused_address()[1]):  # where nobody answers
        ended = cluster.get(master, cluster.base / "dest")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.done["from_master"] == ended.done["fetched"]
    assert differences(source, cluster.base / "dest") == []
