"""Pauses double up to the longest, and differ between nodes."""

from __future__ import annotations

from random import Random

from xget_lib.swarm.backoff import Backoff, doubled


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(Random(1), 1.0, 5.0)
    for longest in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert longest / 2 <= backoff.next() <= longest


def test_however_often_a_pause_is_doubled_it_is_not_longer_than_the_longest() -> None:
    assert [doubled(0.5, times, 3.0) for times in (0, 1, 2, 3, 1_000_000)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_after_a_success_the_pauses_begin_anew() -> None:
    backoff = Backoff(Random(1), 1.0, 60.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1.0


def test_two_nodes_do_not_retry_at_the_same_time() -> None:
    assert Backoff(Random(1)).next() != Backoff(Random(2)).next()
