"""One upload slot at each connected peer."""

from __future__ import annotations

from xget_lib.swarm.peer_slots import PeerSlots

A = ("10.0.0.1", 1)


def test_a_slot_is_requested_granted_used_and_free_again() -> None:
    slots = PeerSlots()
    slots.connected(A)
    slots.request(A)
    assert slots.requested == 1 and not slots.is_free(A)
    assert slots.granted(A)
    slots.read(A, 7)
    assert slots.requested == 0 and not slots.is_free(A) and slots.is_reading(A, 7)
    slots.ended(A)
    assert slots.is_free(A)


def test_a_slot_that_was_not_requested_is_not_used() -> None:
    slots = PeerSlots()
    assert not slots.granted(A)
    slots.connected(A)
    assert not slots.granted(A)


def test_a_lost_peer_has_neither_request_nor_chunk() -> None:
    slots = PeerSlots()
    slots.connected(A)
    slots.request(A)
    assert slots.gone(A) is None
    assert slots.requested == 0
    slots.connected(A)
    slots.read(A, 7)
    assert slots.gone(A) == 7
    assert not slots.is_reading(A, 7)
