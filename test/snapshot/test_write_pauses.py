"""When writes are watched again, and when a file counts as complete."""

from __future__ import annotations

from math import inf

from xget_lib.snapshot.write_pauses import WRITING, WritePauses


def test_after_a_pause_writes_are_watched_again_and_then_count_as_over() -> None:
    pauses = WritePauses()
    assert pauses.begin(1, 10.0)
    assert not pauses.begin(1, 11.0), "it is paused already"
    assert (pauses.any, pauses.due, pauses.end(11.9)) == (True, 10.0 + WRITING, [])
    assert pauses.end(12.0) == [1]
    assert (pauses.any, pauses.over(13.9), pauses.over(14.0), pauses.due) == (False, False, True, inf)


def test_a_write_after_a_pause_begins_another_one() -> None:
    pauses = WritePauses()
    pauses.begin(1, 10.0)
    pauses.end(12.0)
    assert pauses.begin(1, 13.0)
    assert not pauses.over(20.0)


def test_what_may_be_written_is_over_after_a_while_without_writes() -> None:
    pauses = WritePauses()
    pauses.await_quiet(1, 10.0)
    pauses.await_quiet(1, 11.0)
    assert (pauses.any, pauses.over(11.9), pauses.over(12.0)) == (False, False, True)
    pauses.begin(2, 10.0)
    pauses.await_quiet(2, 11.0)
    assert not pauses.over(13.0), "writes there are not watched"
    pauses.drop(2)
    assert (pauses.any, pauses.due) == (False, inf)
