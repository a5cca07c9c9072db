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
    speed.measured("a", 5.9, 10.0)
    assert not speed.is_slow("a", 10.0)


def test_a_slow_peer_is_slow_for_a_time_that_depends_on_its_chunk(speed: PeerSpeed[str]) -> None:
    speed.measured("a", 7.0, 10.0)
    assert speed.is_slow("a", 10.0 + 8 * 7.0 - 0.1)
    assert not speed.is_slow("a", 10.0 + 8 * 7.0)
    assert not speed.is_slow("usual", 10.0)


def test_a_peer_that_is_forgotten_is_measured_anew(speed: PeerSpeed[str]) -> None:
    speed.measured("a", 100.0, 10.0)
    speed.forget("a")
    speed.forget("never measured")
    assert not speed.is_slow("a", 10.0)
