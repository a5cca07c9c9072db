"""The speed of a peer: a chunk that takes much longer than usual makes its peer slow for some time."""

from __future__ import annotations

import pytest

from xget_lib.swarm.peer_speed import PeerSpeed


@pytest.fixture
def speed() -> PeerSpeed[str]:
    """Chunks usually take 2 s here."""
    made: PeerSpeed[str] = PeerSpeed()
    for _ in range(100):
        made.measured("usual", 2.0, 0.0)
    assert made.usual == pytest.approx(2.0)
    return made


def test_a_peer_that_was_not_measured_is_not_slow(speed: PeerSpeed[str]) -> None:
    assert not speed.is_slow("other", 0.0)


def test_a_chunk_that_takes_a_little_longer_does_not_make_a_peer_slow(speed: PeerSpeed[str]) -> None:
    assert not speed.owed("a", 5.9, 10.0)
    assert not speed.is_slow("a", 10.0)


def test_a_slow_peer_is_slow_for_a_time_that_depends_on_its_chunk(speed: PeerSpeed[str]) -> None:
    speed.measured("a", 7.0, 10.0)
    assert speed.is_slow("a", 10.0 + 8 * 7.0 - 0.1)
    assert not speed.is_slow("a", 10.0 + 8 * 7.0)
    assert not speed.is_slow("usual", 10.0)


def test_what_a_peer_owes_does_not_change_what_is_usual(speed: PeerSpeed[str]) -> None:
    assert speed.owed("a", 1000.0, 10.0)
    assert speed.usual == pytest.approx(2.0)


def test_one_chunk_that_takes_hours_changes_little(speed: PeerSpeed[str]) -> None:
    speed.measured("a", 10_000.0, 10.0)
    assert speed.usual < 4.0


def test_a_peer_that_is_forgotten_is_measured_anew(speed: PeerSpeed[str]) -> None:
    speed.measured("a", 100.0, 10.0)
    speed.forget("a")
    speed.forget("never measured")
    assert not speed.is_slow("a", 10.0)


def suspended_for(speed: PeerSpeed[str], peer: str, now: float) -> float:
    """Suspends a peer. Returns for how many seconds."""
    speed.suspend(peer, now)
    assert speed.is_suspended(peer)
    end = now
    while peer not in speed.may_be_resumed(end):
        end += 1.0
    speed.resume(peer)
    return end - now


def test_each_suspension_of_a_peer_is_longer_up_to_a_limit(speed: PeerSpeed[str]) -> None:
    assert [suspended_for(speed, "a", 0.0) for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]
    assert suspended_for(speed, "b", 0.0) == 2


def test_chunks_in_time_make_a_suspended_peer_trusted_again(speed: PeerSpeed[str]) -> None:
    for _ in range(3):
        suspended_for(speed, "a", 0.0)
    assert not speed.is_trusted("a")
    speed.measured("a", 100.0, 0.0)
    assert not speed.is_trusted("a"), "that was late"
    speed.measured("a", 1.0, 0.0)
    assert speed.is_trusted("a")
    assert suspended_for(speed, "a", 0.0) == 8


def test_a_peer_that_connects_again_is_not_a_new_one(speed: PeerSpeed[str]) -> None:
    suspended_for(speed, "a", 0.0)
    speed.forget("a")
    assert not speed.is_trusted("a")
    assert suspended_for(speed, "a", 0.0) == 4


def test_a_peer_may_be_suspended_until_it_answers(speed: PeerSpeed[str]) -> None:
    speed.suspend("a", 0.0, until_resumed=True)
    assert speed.may_be_resumed(1e9) == []
    speed.resume("a")
    assert not speed.is_suspended("a")


def test_only_some_suspensions_are_remembered(speed: PeerSpeed[str]) -> None:
    for number in range(3000):
        speed.suspend(f"peer {number}", 0.0)
        speed.forget(f"peer {number}")
    assert len(speed._suspensions) + len(speed._untrusted) <= 2048
    assert speed.is_trusted("peer 0") and not speed.is_trusted("peer 2999")
