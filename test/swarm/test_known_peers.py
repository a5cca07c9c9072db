"""Which peers a node connects to, and when again."""

from __future__ import annotations

from random import Random

from xget_lib.swarm.known_peers import REGISTERED, KnownPeers
from xget_lib.swarm.messages import Address

ONE, OTHER = b"1" * 32, b"2" * 32
A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


def address(number: int) -> Address:
    return (f"10.1.0.{number}", 1)


def known() -> KnownPeers:
    peers = KnownPeers(Random(1))
    peers.begin(ONE)
    return peers


def test_each_named_peer_is_connected_to_once() -> None:
    peers = known()
    peers.name([A, B])
    assert set(peers.to_connect()) == {A, B}
    assert peers.to_connect() == []


def test_a_peer_that_registered_with_another_generation_waits_for_that() -> None:
    peers = known()
    peers.register(A, OTHER)
    assert peers.to_connect() == []
    peers.begin(OTHER)
    assert peers.to_connect() == [A]


def test_a_named_peer_is_tried_for_ever_with_growing_pauses() -> None:
    peers = known()
    peers.name([A])
    peers.to_connect()
    pauses = [peers.lost(A) for _ in range(20)]
    assert all(pause is not None and 1.0 < pause <= 11.0 for pause in pauses)


def test_a_peer_that_the_master_names_no_more_is_not_connected_to_again_until_it_does() -> None:
    peers = known()
    peers.name([A])
    peers.to_connect()
    peers.name([B])
    assert peers.lost(A) is None
    peers.name([A])
    assert peers.to_connect() == [A]


def test_a_peer_that_registered_is_forgotten_after_some_tries() -> None:
    peers = known()
    peers.register(A, ONE)
    peers.to_connect()
    pauses = [peers.lost(A) for _ in range(5)]
    assert None not in pauses[:4] and pauses[4] is None
    assert peers.to_connect() == []


def test_a_peer_that_sent_wrong_content_is_not_connected_to_again_for_this_generation() -> None:
    peers = known()
    peers.name([A])
    peers.register(A, ONE)
    peers.to_connect()
    peers.distrust(A)
    assert peers.lost(A) is None
    assert peers.to_connect() == []
    peers.begin(OTHER)
    assert peers.to_connect() == [A]


def test_too_many_registrations_are_ignored_but_not_because_of_another_generation() -> None:
    peers = known()
    for number in range(REGISTERED):
        peers.register(address(number), OTHER)
    for number in range(REGISTERED + 10):
        peers.register(("10.2.0.0", number), ONE)
    assert len(peers.to_connect()) == REGISTERED
