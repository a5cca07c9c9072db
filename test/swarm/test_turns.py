"""Which file stands for which upload slot."""

from __future__ import annotations

from xget_lib.swarm.turns import Turns


def test_one_slot_needs_one_file() -> None:
    turns = Turns()
    for _ in range(3):
        assert turns.request(0) == 0
        turns.granted(0)
        assert turns.give_back() == 0


def test_the_next_request_ends_the_slot_that_was_used() -> None:
    turns = Turns()
    turns.granted(turns.request(0))
    assert turns.request(0) == 0, "the chunk is here"


def test_while_a_chunk_is_being_read_another_slot_needs_another_file() -> None:
    turns = Turns()
    turns.granted(turns.request(0))
    assert turns.request(1) == 1
    turns.granted(1)
    assert turns.request(2) == 2
    assert turns.give_back() == 0
    assert turns.request(1) == 0
