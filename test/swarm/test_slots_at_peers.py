"""The slots at peers: which requests are overdue, and how hosts share them."""

from __future__ import annotations

from random import Random

from xget_lib.swarm.messages import Address
from xget_lib.swarm.slots_at_peers import SlotsAtPeers

A, B, C = ("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1)


def connected(*peers: Address) -> SlotsAtPeers:
    slots = SlotsAtPeers()
    for peer in peers:
        slots.connected(peer)
    return slots


def test_a_request_that_takes_much_longer_than_usual_does_not_count() -> None:
    slots = connected(A, B)
    slots.request(A, 0.0)
    slots.request(B, 1.0)
    assert slots.become_overdue(0.1, 1.9) == []
    assert slots.become_overdue(0.1, 2.0) == [A]
    assert slots.become_overdue(0.1, 2.1) == []
    assert slots.waiting == 1 and slots.is_overdue(A) and not slots.is_free(A)
    assert slots.granted(A, 3.0)
    assert slots.waiting == 1 and not slots.is_overdue(A)


def test_where_chunks_take_long_slots_may_take_long_too() -> None:
    slots = connected(A)
    slots.request(A, 0.0)
    assert slots.become_overdue(50.0, 99.0) == []
    assert slots.become_overdue(50.0, 100.0) == [A]


def test_what_is_usual_is_learned_but_not_from_one_grant_that_comes_after_hours() -> None:
    slots = connected(A, B)
    for begin in range(0, 1000, 20):
        slots.request(A, float(begin))
        slots.granted(A, begin + 10.0)
    slots.request(A, 2000.0)
    assert slots.become_overdue(0.1, 2030.0) == []
    assert slots.become_overdue(0.1, 2045.0) == [A]
    slots.granted(A, 1e9)
    slots.request(B, 1e9)
    assert slots.become_overdue(0.1, 1e9 + 100.0) == [B]


def test_a_grant_that_was_not_requested_is_none() -> None:
    slots = connected(A)
    assert not slots.granted(A, 0.0)


def test_a_lost_peer_says_what_was_being_read() -> None:
    slots = connected(A, B)
    slots.read(A, 3, 0.0)
    slots.request(B, 0.0)
    slots.become_overdue(0.1, 100.0)
    assert slots.gone(A) == 1
    assert slots.gone(B) == 0
    assert slots.waiting == 0 and len(slots) == 0


def test_over_a_distance_a_peer_has_several_slots() -> None:
    slots = connected(A, B)
    slots.read(A, 3, 0.0)
    assert not slots.is_free(A) and slots.is_free(A, 2)
    slots.request(A, 1.0)
    assert not slots.is_free(A, 2) and slots.is_free(A, 3)
    slots.request(A, 2.0)
    slots.request(B, 2.0)
    assert slots.waiting == 3
    assert slots.become_overdue(0.1, 3.5) == [A], "the oldest of its requests"
    assert slots.waiting == 1 and not slots.is_free(A, 9)
    assert slots.granted(A, 4.0)
    assert slots.waiting == 2
    slots.read(A, 4, 4.0)
    slots.request(A, 4.0)
    assert slots.gone(A) == 2 and slots.waiting == 1


def test_a_chunk_ends_once() -> None:
    slots = connected(A)
    slots.read(A, 3, 0.0)
    assert slots.ended(A, 4) is None
    assert slots.ended(A, 3) == 0.0
    assert slots.ended(A, 3) is None


def test_a_host_gets_half_of_what_is_asked_while_others_are_asked_too() -> None:
    crowd = [("10.0.0.9", port) for port in range(1, 41)]
    slots = connected(*crowd, A)
    for peer in crowd[:3]:
        assert slots.has_share(peer, 4)
        slots.request(peer, 0.0)
    slots.request(A, 0.0)
    assert not slots.has_share(crowd[3], 4)
    assert slots.has_share(crowd[3], 4, reading=True)
    slots.read(crowd[0], 0, 0.0)
    slots.read(crowd[1], 1, 0.0)
    assert not slots.has_share(crowd[2], 4, reading=True)
    slots.gone(A)
    assert slots.has_share(crowd[3], 4)


def test_each_host_comes_first_once_before_another_peer_of_any() -> None:
    crowd = [("10.0.0.9", port) for port in range(1, 41)]
    for seed in range(20):
        first = list(connected(*crowd, A, B, C).free_in_fair_order(Random(seed)))
        assert {peer[0] for peer in first[:4]} == {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"}
        assert len(first) == 43
