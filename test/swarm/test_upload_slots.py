"""Upload slots: a few at once, first come first served; a reader that is stuck does not keep the others waiting."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from test.support.strategies import examples
from xget_lib.swarm.upload_slots import UploadSlots


def test_slots_are_granted_in_the_order_of_requests_up_to_the_limit() -> None:
    slots: UploadSlots[str] = UploadSlots(2)
    for key in "abcd":
        slots.request(key, 0.0)
    assert slots.grant(0.0) == ["a", "b"]
    assert slots.grant(0.1) == []
    slots.request("a", 0.2)
    assert slots.grant(0.2) == ["c"]
    slots.end("b")
    assert slots.grant(0.2) == ["d"]
    slots.end("c")
    assert slots.grant(0.2) == ["a"]


def test_a_reader_that_is_gone_gets_no_slot() -> None:
    slots: UploadSlots[str] = UploadSlots(1)
    slots.request("a", 0.0)
    slots.request("b", 0.0)
    slots.end("a")
    assert slots.grant(0.0) == ["b"]


def test_two_requests_give_one_slot() -> None:
    slots: UploadSlots[str] = UploadSlots(2)
    slots.request("a", 0.0)
    slots.request("a", 0.0)
    assert slots.grant(0.0) == ["a"]


def test_a_slot_that_lasts_much_longer_than_usual_does_not_keep_the_others_waiting() -> None:
    slots: UploadSlots[str] = UploadSlots(1)
    slots.request("slow", 0.0)
    slots.request("next", 0.0)
    assert slots.grant(0.0) == ["slow"]
    assert slots.grant(0.5) == []
    assert slots.grant(1000.0) == ["next"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens, at most `limit` slots are in use, and free slots go to the readers that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: UploadSlots[int] = UploadSlots(2)
        self.granted: set[int] = set()
        self.waiting: list[int] = []

    @rule(key=st.integers(0, 5))
    def request(self, key: int) -> None:
        self.slots.request(key, 0.0)
        self.granted.discard(key)
        if key not in self.waiting:
            self.waiting.append(key)

    @rule(key=st.integers(0, 5))
    def end(self, key: int) -> None:
        self.slots.end(key)
        self.granted.discard(key)
        if key in self.waiting:
            self.waiting.remove(key)

    @rule()
    def grant(self) -> None:
        free = 2 - len(self.granted)
        assert self.slots.grant(0.0) == self.waiting[:free]
        self.granted |= set(self.waiting[:free])
        self.waiting = self.waiting[free:]


AnyOrder.TestCase.settings = settings(max_examples=examples(50), stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
