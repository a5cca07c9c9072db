"""UploadSlots: few at once, first come first served, and nobody who sits on one keeps the others waiting for ever."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from xget_lib.swarm.upload_slots import UploadSlots


def test_turns_are_given_in_the_order_they_were_asked_for_and_so_many_at_once() -> None:
    turns: UploadSlots[str] = UploadSlots(2)
    for key in "abcd":
        turns.ask(key, 0.0)
    assert turns.grant(0.0) == ["a", "b"]
    assert turns.grant(0.1) == []
    turns.ask("a", 0.2)
    assert turns.grant(0.2) == ["c"]
    turns.end("b")
    assert turns.grant(0.2) == ["d"]
    turns.end("c")
    assert turns.grant(0.2) == ["a"]


def test_who_is_gone_gets_no_turn() -> None:
    turns: UploadSlots[str] = UploadSlots(1)
    turns.ask("a", 0.0)
    turns.ask("b", 0.0)
    turns.end("a")
    assert turns.grant(0.0) == ["b"]


def test_asking_twice_gives_one_turn() -> None:
    turns: UploadSlots[str] = UploadSlots(2)
    turns.ask("a", 0.0)
    turns.ask("a", 0.0)
    assert turns.grant(0.0) == ["a"]


def test_one_that_takes_much_longer_than_usual_does_not_keep_the_others_waiting() -> None:
    turns: UploadSlots[str] = UploadSlots(1)
    turns.ask("slow", 0.0)
    turns.ask("next", 0.0)
    assert turns.grant(0.0) == ["slow"]
    assert turns.grant(0.5) == []
    assert turns.grant(1000.0) == ["next"]


class Turning(RuleBasedStateMachine):
    """Whatever happens, at most the limit has a fresh turn, and free turns go to whoever waits."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: UploadSlots[int] = UploadSlots(2)
        self.having: set[int] = set()
        self.waiting: list[int] = []

    @rule(key=st.integers(0, 5))
    def ask(self, key: int) -> None:
        self.turns.ask(key, 0.0)
        self.having.discard(key)
        if key not in self.waiting:
            self.waiting.append(key)

    @rule(key=st.integers(0, 5))
    def end(self, key: int) -> None:
        self.turns.end(key)
        self.having.discard(key)
        if key in self.waiting:
            self.waiting.remove(key)

    @rule()
    def grant(self) -> None:
        free = 2 - len(self.having)
        assert self.turns.grant(0.0) == self.waiting[:free]
        self.having |= set(self.waiting[:free])
        self.waiting = self.waiting[free:]


Turning.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestTurning = Turning.TestCase
