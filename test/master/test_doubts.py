"""A liar does not make the master hash for ever, and what is true is found at once."""

from __future__ import annotations

from xget_lib.master.doubts import Doubts

ONE, TWO = bytes(32), bytes([1]) * 32


def test_one_report_is_checked_at_a_time() -> None:
    doubts = Doubts()
    assert doubts.accept("a", ONE, 1, 0.0)
    assert not doubts.accept("b", ONE, 2, 0.0)
    doubts.checked(true=True, now=1.0)
    assert doubts.accept("b", ONE, 2, 1.0)


def test_each_chunk_is_checked_once_a_minute() -> None:
    doubts = Doubts()
    assert doubts.accept("a", ONE, 1, 0.0)
    doubts.checked(true=True, now=1.0)
    assert not doubts.accept("b", ONE, 1, 59.0)
    assert doubts.accept("b", TWO, 1, 59.0), "another generation"
    doubts.checked(true=True, now=59.0)
    assert doubts.accept("b", ONE, 1, 60.0)


def test_a_host_that_says_what_is_not_true_is_believed_less_and_less_often() -> None:
    doubts = Doubts()
    checked = 0
    for second in range(3600):
        for chunk in range(3):
            if doubts.accept("liar", ONE, 3 * second + chunk, float(second)):
                doubts.checked(true=False, now=float(second))
                checked += 1
    assert checked <= 10, "chunks in an hour"
    assert doubts.accept("honest", ONE, 1_000_000, 3600.0)


def test_what_it_remembers_is_bounded() -> None:
    doubts = Doubts()
    for number in range(5000):
        assert doubts.accept(f"host {number}", ONE, number, 0.0)
        doubts.checked(true=False, now=0.0)
    assert len(doubts._hosts) <= 1000
    assert len(doubts._chunks) <= 1000
