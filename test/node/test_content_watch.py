"""What counts as progress of a download, and what is told when it stops."""

from __future__ import annotations

from typing import cast

from xget_lib.net.link import Link
from xget_lib.node.content_watch import _STEP, Received

LINK, OTHER = cast(Link, object()), cast(Link, object())


def test_a_chunk_is_progress_and_one_that_is_fetched_again_is_not() -> None:
    received = Received(0)
    assert not received.more(0, {})
    assert received.more(1000, {})
    assert not received.more(1000, {})
    assert not received.more(0, {})  # it was wrong
    assert not received.more(1000, {})
    assert received.more(2000, {})


def test_bytes_are_progress_when_there_are_enough_of_them() -> None:
    received = Received(0)
    assert not received.more(0, {LINK: 500})  # what had arrived before
    assert not received.more(0, {LINK: 500 + _STEP - 1})
    assert received.more(0, {LINK: 500 + _STEP})
    assert not received.more(0, {LINK: 501 + _STEP})


def test_single_bytes_add_up_over_all_connections_only() -> None:
    received = Received(0)
    received.more(0, {LINK: 0, OTHER: 0})
    assert not received.more(0, {LINK: _STEP // 2, OTHER: 1})
    assert received.more(0, {LINK: _STEP // 2, OTHER: _STEP // 2})


def test_a_new_connection_is_no_progress() -> None:
    received = Received(0)
    for number in range(100):
        assert not received.more(0, {cast(Link, object()): number * _STEP})
