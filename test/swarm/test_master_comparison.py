"""Whether the master would send chunks faster than all peers together."""

from __future__ import annotations

from random import Random

from xget_lib.swarm.master_comparison import _FAST, _PATIENCE, _PROBE_EVERY, MasterComparison


def with_master(seconds: float) -> MasterComparison:
    """At time 100 the master has sent a chunk, which took so long."""
    comparison = MasterComparison(2, Random(1), 100.0 - seconds)
    comparison.asked_master(7, 100.0 - seconds)
    comparison.master_sent(7, 100.0)
    return comparison


def from_peers(comparison: MasterComparison, interval: float, count: int = 50) -> float:
    """Peers send chunks from time 100 on. Returns when the last one is there."""
    for number in range(count):
        comparison.peer_sent(100.0 + number * interval)
    return 100.0 + (count - 1) * interval


def test_a_master_that_has_sent_nothing_is_not_faster_but_must_be_probed() -> None:
    comparison = MasterComparison(2, Random(1), 0.0)
    assert not comparison.must_probe(_FAST)
    assert comparison.must_probe(1.0)
    assert not comparison.master_is_faster(1000.0)


def test_peers_are_slow_if_all_of_them_bring_less_than_two_slots_at_the_master() -> None:
    comparison = with_master(0.1)
    assert comparison.master_is_faster(from_peers(comparison, 0.06))
    comparison = with_master(0.1)
    assert not comparison.master_is_faster(from_peers(comparison, 0.04))


def test_peers_that_stop_to_send_are_slow() -> None:
    comparison = with_master(0.1)
    end = from_peers(comparison, 0.01)
    assert not comparison.master_is_faster(end + 0.04)
    assert comparison.master_is_faster(end + 0.06)


def test_short_times_are_not_compared() -> None:
    comparison = with_master(_FAST / 100)
    end = from_peers(comparison, 0.9 * _FAST)
    assert not comparison.master_is_faster(end)
    assert not comparison.must_probe(end + 0.9 * _FAST)


def test_what_is_known_about_the_master_gets_too_old() -> None:
    comparison = with_master(0.1)
    from_peers(comparison, 0.05)
    assert not comparison.must_probe(99.0 + _PROBE_EVERY)
    assert comparison.must_probe(100.0 + _PROBE_EVERY)
    comparison.asked_master(3, 106.0)
    comparison.master_sent(3, 106.1)
    assert not comparison.must_probe(107.0)


def test_a_chunk_that_was_not_requested_of_the_master_says_nothing() -> None:
    comparison = MasterComparison(2, Random(1), 0.0)
    comparison.master_sent(1, 1.0)
    assert not comparison.master_is_faster(100.0)


def test_peers_are_slow_after_their_time_if_what_lacks_would_take_them_long() -> None:
    comparison = with_master(0.1)
    end = from_peers(comparison, 1.0, 40)
    assert not comparison.peers_are_slow(1000, 100.0 + 0.9 * _PATIENCE)
    assert comparison.peers_are_slow(1000, end), "twice the time is over"
    assert not comparison.peers_are_slow(5, end)
