"""Upload slots: a few at once; hosts share them; a reader that is stuck does not keep the others waiting."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from test.support.strategies import examples
from xget_lib.swarm.upload_slots import UploadSlots


def test_slots_are_granted_in_the_order_of_requests_up_to_the_limit() -> None:
    slots: UploadSlots[str] = UploadSlots(2)
    for key in "abcd":
        slots.request(key, key, 0.0)
    assert slots.grant(0.0) == ["a", "b"]
    assert slots.grant(0.1) == []
    slots.request("a", "a", 0.2)
    assert slots.grant(0.2) == ["c"]
    slots.end("b", 0.2)
    assert slots.grant(0.2) == ["d"]
    slots.end("c", 0.2)
    assert slots.grant(0.2) == ["a"]


def test_a_reader_that_is_gone_gets_no_slot() -> None:
    slots: UploadSlots[str] = UploadSlots(1)
    slots.request("a", "a", 0.0)
    slots.request("b", "b", 0.0)
    slots.end("a", 0.0)
    assert slots.grant(0.0) == ["b"]


def test_two_requests_give_one_slot() -> None:
    slots: UploadSlots[str] = UploadSlots(2)
    slots.request("a", "a", 0.0)
    slots.request("a", "a", 0.0)
    assert slots.grant(0.0) == ["a"]


def test_a_slot_that_lasts_much_longer_than_usual_does_not_keep_the_others_waiting() -> None:
    slots: UploadSlots[str] = UploadSlots(1)
    slots.request("slow", "a", 0.0)
    slots.request("next", "b", 0.0)
    assert slots.grant(0.0) == ["slow"]
    assert slots.grant(0.5) == []
    assert slots.grant(1000.0) == ["next"]


def test_a_host_with_many_readers_leaves_a_slot_to_others() -> None:
    slots: UploadSlots[str] = UploadSlots(4)
    for number in range(40):
        slots.request(f"greedy {number}", "10.0.0.1", 0.0)
    assert len(slots.grant(0.0)) == 3
    slots.request("honest", "10.0.0.2", 0.1)
    assert slots.grant(0.1) == ["honest"]


def test_a_host_that_does_not_use_its_slots_gets_no_further_one_while_others_wait() -> None:
    slots: UploadSlots[str] = UploadSlots(4)
    for number in range(40):
        slots.request(f"greedy {number}", "10.0.0.1", 0.0)
    slots.grant(0.0)
    assert len(slots.grant(100.0)) == 3, "its first slots have expired"
    for number in range(10):
        slots.request(f"honest {number}", f"10.0.1.{number}", 100.0)
    assert slots.grant(200.0) == [f"honest {number}" for number in range(4)]
    for number in range(4):
        slots.end(f"honest {number}", 200.0)
    assert slots.grant(201.0) == [f"honest {number}" for number in range(4, 8)]


def test_one_who_keeps_a_slot_for_long_does_not_keep_others_waiting_longer() -> None:
    slots: UploadSlots[str] = UploadSlots(2)
    for _ in range(100):
        slots.request("slow", "a", 0.0)
        slots.grant(0.0)
        slots.request("slow", "a", 1e6)
        slots.end("slow", 1e6)
    slots.request("a", "a", 0.0)
    slots.request("b", "b", 0.0)
    slots.request("c", "c", 0.0)
    assert slots.grant(0.0) == ["a", "b"]
    assert slots.grant(31.0) == ["c"]


def test_hosts_that_keep_each_slot_almost_too_long_get_no_more_of_the_time_than_others() -> None:
    slots: UploadSlots[str] = UploadSlots(1)
    seconds = dict.fromkeys([*(f"keeps {number}" for number in range(8)), "honest"], 0.0)
    now = 0.0
    for key in seconds:
        slots.request(key, key, now)
    while now < 10000.0:
        (key,) = slots.grant(now)
        kept = 0.99 * slots._patience if key.startswith("keeps") else 0.1
        now += kept
        seconds[key] += kept
        slots.request(key, key, now)
    assert seconds["honest"] > 10000.0 / 10


def test_a_host_that_leaves_does_not_get_rid_of_what_it_used() -> None:
    slots: UploadSlots[str] = UploadSlots(1)
    slots.request("leaving", "a", 0.0)
    assert slots.grant(0.0) == ["leaving"]
    slots.request("staying", "b", 1.0)
    slots.end("leaving", 20.0)
    assert slots.grant(20.0) == ["staying"]
    slots.request("back", "a", 20.0)
    slots.request("staying", "b", 20.1)
    assert slots.grant(20.1) == ["staying"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens, at most `limit` slots are in use, and free slots go to those that wait, fairly by host."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: UploadSlots[int] = UploadSlots(3)
        self.granted: set[int] = set()
        self.waiting: list[int] = []

    @rule(key=st.integers(0, 8))
    def request(self, key: int) -> None:
        self.slots.request(key, f"host {key % 3}", 0.0)
        self.granted.discard(key)
        if key not in self.waiting:
            self.waiting.append(key)

    @rule(key=st.integers(0, 8))
    def end(self, key: int) -> None:
        self.slots.end(key, 0.0)
        self.granted.discard(key)
        if key in self.waiting:
            self.waiting.remove(key)

    def load(self, key: int) -> int:
        return sum(other % 3 == key % 3 for other in self.granted)

    @rule()
    def grant(self) -> None:
        for key in self.slots.grant(0.0):
            assert self.load(key) == min(map(self.load, self.waiting))
            assert key == next(each for each in self.waiting if each % 3 == key % 3)
            self.waiting.remove(key)
            self.granted.add(key)
        assert len(self.granted) <= 3
        assert len(self.granted) == 3 or all(self.load(key) >= 2 for key in self.waiting)

    @invariant()
    def waits(self) -> None:
        assert self.slots.waiting == bool(self.waiting)


AnyOrder.TestCase.settings = settings(max_examples=examples(50), stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
