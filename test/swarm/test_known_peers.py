"""Which peers a node connects to, how many at once, and when again."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from xget_lib.swarm.host_attempts import LONGEST_REST
from xget_lib.swarm.host_attempts import TRIES as TRIES_OF_HOST
from xget_lib.swarm.known_peers import CONNECTIONS, REGISTERED, REGISTERED_CONNECTIONS, TRIES, KnownPeers
from xget_lib.swarm.messages import Address

ONE, OTHER = b"1" * 32, b"2" * 32
A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


def addresses(count: int, network: int = 1) -> list[Address]:
    return [(f"10.{network}.{number // 250}.{number % 250}", 1) for number in range(count)]


def known() -> KnownPeers:
    peers = KnownPeers(Random(1))
    peers.begin(ONE)
    return peers


def attempts(peers: KnownPeers, begin: float, end: float) -> list[tuple[float, Address]]:
    """When each peer is connected to, if each attempt fails at once."""
    found = []
    for step in range(int((end - begin) * 4)):
        now = begin + step / 4
        for peer in peers.to_connect(now):
            found.append((now, peer))
            peers.lost(peer, now)
    return found


def connect(peers: KnownPeers, begin: int, end: int) -> list[Address]:
    """The peers that are connected to, if each attempt succeeds at once."""
    found = []
    for now in range(begin, end):
        for peer in peers.to_connect(float(now)):
            peers.connected(peer)
            found.append(peer)
    return found


def test_each_named_peer_is_connected_to_once() -> None:
    peers = known()
    peers.name([A, B])
    assert set(peers.to_connect(0.0)) == {A, B}
    assert peers.to_connect(1.0) == []


def test_a_peer_that_registered_with_another_generation_waits_for_that() -> None:
    peers = known()
    peers.register(A, OTHER)
    assert peers.to_connect(0.0) == []
    peers.begin(OTHER)
    assert peers.to_connect(0.0) == [A]


def test_a_named_peer_is_tried_with_growing_pauses_and_then_given_up() -> None:
    peers = known()
    peers.name([A])
    tried = [moment for moment, _ in attempts(peers, 0.0, 1000.0)]
    assert len(tried) == TRIES
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[0] < 2.0 and pauses[-1] > 10.0


def test_a_peer_that_was_of_use_is_tried_again_as_if_nothing_had_failed() -> None:
    peers = known()
    peers.name([A])
    attempts(peers, 0.0, 20.0)
    peers.useful(A)
    assert peers.to_connect(20.0) == [A]


def test_a_peer_that_was_given_up_and_registers_gets_one_more_try() -> None:
    peers = known()
    peers.name([A])
    attempts(peers, 0.0, 1000.0)
    peers.register(A, ONE)
    assert len(attempts(peers, 1000.0, 2000.0)) == 1


def test_a_peer_that_the_master_names_no_more_is_not_connected_to_again_until_it_does() -> None:
    peers = known()
    peers.name([A])
    peers.to_connect(0.0)
    peers.name([B])
    peers.lost(A, 0.0)
    assert peers.to_connect(100.0) == [B]
    peers.name([A])
    assert peers.to_connect(200.0) == [A]


def test_a_peer_that_registered_is_forgotten_after_some_tries() -> None:
    peers = known()
    peers.register(A, ONE)
    assert len(attempts(peers, 0.0, 1000.0)) == TRIES


def test_a_peer_that_sent_wrong_content_is_not_connected_to_again_for_this_generation() -> None:
    peers = known()
    peers.name([A])
    peers.register(A, ONE)
    peers.to_connect(0.0)
    peers.distrust(A)
    peers.lost(A, 0.0)
    assert peers.to_connect(100.0) == []
    peers.begin(OTHER)
    assert peers.to_connect(100.0) == [A]


def test_a_host_whose_peers_sent_wrong_content_cannot_go_on_with_other_ports() -> None:
    peers = known()
    tried = 0
    for port in range(1, 100):
        peers.register(("10.0.0.9", port), ONE)
        for peer in peers.to_connect(float(port)):
            tried += 1
            peers.distrust(peer)
    assert tried <= 10
    peers.register(A, ONE)
    assert peers.to_connect(200.0) == [A]


def test_a_master_that_names_peers_without_end_costs_few_connections() -> None:
    peers = known()
    tried = 0
    for second in range(60):
        peers.name(addresses(1500, second))
        tried += len(attempts(peers, float(second), second + 1.0))
    assert tried <= 150


def test_the_number_of_connections_is_limited_and_some_are_left_for_peers_that_the_master_names() -> None:
    peers = known()
    for peer in addresses(REGISTERED):
        peers.register(peer, ONE)
    registered = [peer for now in range(100) for peer in peers.to_connect(float(now))]
    assert len(registered) == REGISTERED_CONNECTIONS
    peers.name(addresses(1500, 2))
    named = [peer for now in range(100, 200) for peer in peers.to_connect(float(now))]
    assert len(named) == CONNECTIONS - REGISTERED_CONNECTIONS
    assert peers.to_connect(300.0) == []
    peers.lost(registered[0], 300.0)
    assert len(peers.to_connect(300.0)) == 1


def test_too_many_registrations_are_ignored_but_not_because_of_another_generation() -> None:
    peers = known()
    for peer in addresses(REGISTERED):
        peers.register(peer, OTHER)
    for peer in addresses(REGISTERED + 10, 2):
        peers.register(peer, ONE)
    assert sum(len(peers.to_connect(float(now))) for now in range(100)) == REGISTERED_CONNECTIONS
    assert len(peers._registered) == REGISTERED


def test_a_host_with_many_registrations_makes_room_for_others() -> None:
    peers = known()
    for port in range(1, 1000):
        peers.register(("10.0.0.9", port), ONE)
    assert len(peers._registered) == REGISTERED
    for peer in addresses(10):
        peers.register(peer, ONE)
    assert set(addresses(10)) <= set(peers._registered)


def test_one_host_has_at_most_half_of_the_connections_to_registered_peers_and_others_come_first() -> None:
    peers = known()
    for port in range(1, REGISTERED + 1):
        peers.register(("10.0.0.9", port), ONE)
    loud = connect(peers, 0, 100)
    assert len(loud) == REGISTERED_CONNECTIONS // 2
    for peer in addresses(20):
        peers.register(peer, ONE)
    assert set(connect(peers, 100, 200)) == set(addresses(20))


def test_several_hosts_leave_a_connection_for_another() -> None:
    peers = known()
    for host in range(5):
        for port in range(1, 13):
            peers.register((f"10.0.0.{host}", port), ONE)
    for now in range(100):
        peers.to_connect(float(now))
    other = ("10.0.0.99", 1)
    peers.register(other, ONE)
    assert [peer for now in range(100, 200) for peer in peers.to_connect(float(now))] == [other]


def test_a_host_whose_ports_do_not_answer_does_not_use_up_the_attempts() -> None:
    peers = known()
    for port in range(1, REGISTERED + 1):
        peers.register(("10.0.0.9", port), ONE)
    attempts(peers, 0.0, 5.0)
    peers.register(A, ONE)
    assert attempts(peers, 5.0, 100.0)[0][1] == A


def test_a_host_that_does_not_answer_is_tried_a_bounded_number_of_times_whatever_its_ports_and_generations() -> None:
    peers = known()
    tried = 0
    for hour in range(24):
        for port in range(1024, 2024):
            peers.register(("10.0.0.9", port), ONE)
        peers.name([("10.0.0.9", port) for port in range(3000, 3064)])
        tried += len(attempts(peers, hour * 3600.0, (hour + 1) * 3600.0))
        peers.begin(ONE)
    assert TRIES_OF_HOST <= tried <= TRIES_OF_HOST + 24 * 3600 / (LONGEST_REST / 2)


def test_a_host_that_was_not_tried_comes_before_one_whose_ports_do_not_answer() -> None:
    peers = known()
    for port in range(1, REGISTERED - 1):
        peers.register(("10.0.0.9", port), ONE)
    while tried := peers.to_connect(0.0):
        for peer in tried:
            peers.lost(peer, 0.0)
    peers.register(A, ONE)
    peers.register(("10.0.0.9", REGISTERED), ONE)
    assert peers.to_connect(1.0)[0] == A
