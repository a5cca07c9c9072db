"""What counts as progress of a download, and what is told when it stops."""

from __future__ import annotations

from xget_lib.node.content_watch import _STEP, Received


def test_a_chunk_is_progress_and_one_that_is_fetched_again_is_not() -> None:
    received = Received(0)
    assert not received.more(0, 0)
    assert received.more(1000, 0)
    assert not received.more(1000, 0)
    assert not received.more(0, 0)  # it was wrong
    assert not received.more(1000, 0)
    assert received.more(2000, 0)


def test_bytes_of_a_chunk_are_progress_when_there_are_enough_of_them() -> None:
    received = Received(0)
    assert not received.more(0, _STEP - 1)
    assert received.more(0, _STEP)
    assert not received.more(0, 2 * _STEP - 1)
    assert received.more(0, 2 * _STEP)


def test_bytes_of_a_chunk_that_is_cut_are_no_progress() -> None:
    received = Received(0)
    assert received.more(0, 4 * _STEP)
    for _ in range(100):
        assert not received.more(0, 0)  # the connection is cut
        assert not received.more(0, 2 * _STEP)
        assert not received.more(0, 4 * _STEP)
    assert received.more(0, 5 * _STEP)


def test_after_a_whole_chunk_the_bytes_of_the_next_ones_count_again() -> None:
    received = Received(0)
    assert received.more(0, 4 * _STEP)  # of two chunks
    assert received.more(3 * _STEP, 0)  # one is whole, the other is cut
    assert received.more(3 * _STEP, _STEP)
