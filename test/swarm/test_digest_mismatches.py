"""When a chunk does not match its digests, a peer is not used again, and the master is asked a few times more."""

from __future__ import annotations

from xget_lib.errors import PieceMismatch
from xget_lib.swarm.actions import MASTER, Disconnect, GiveUp, SendRemark
from xget_lib.swarm.digest_mismatches import DigestMismatches

PEER = ("10.0.0.1", 1)
ERROR = PieceMismatch(b"a/b", 7, "10.0.0.1:1")


def test_a_peer_is_disconnected_at_once_and_the_master_is_told() -> None:
    mismatches = DigestMismatches(retries=100)
    assert mismatches.act_on(PEER, 0, ERROR) == [SendRemark(str(ERROR)), Disconnect(PEER)]


def test_the_master_may_send_each_chunk_again_so_often() -> None:
    mismatches = DigestMismatches(retries=2)
    for chunk in (0, 1, 0, 1):
        assert mismatches.act_on(MASTER, chunk, ERROR) == []
    (action,) = mismatches.act_on(MASTER, 0, ERROR)
    assert action == GiveUp(0, "10.0.0.1:1")


def test_what_is_right_of_a_chunk_that_was_given_up_may_be_sent_as_often_again() -> None:
    mismatches = DigestMismatches(retries=1)
    assert [bool(mismatches.act_on(MASTER, 0, ERROR)) for _ in range(5)] == [False, True, False, True, False]


def test_another_generation_starts_from_nothing() -> None:
    mismatches = DigestMismatches(retries=1)
    assert mismatches.act_on(MASTER, 0, ERROR) == []
    mismatches.begin()
    assert mismatches.act_on(MASTER, 0, ERROR) == []
