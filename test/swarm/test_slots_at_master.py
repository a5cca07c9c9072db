"""When a node opens slots at its master, and what it tells it."""

from __future__ import annotations

from math import inf
from random import Random

from xget_lib.swarm.slots_at_master import SlotsAtMaster


def connected() -> SlotsAtMaster:
    slots = SlotsAtMaster(Random(1), 0.5)
    slots.begin(4)
    slots.connected()
    return slots


def test_no_slot_is_opened_without_a_connection() -> None:
    slots = connected()
    assert slots.may_open(True, 0.0, 0.0)
    slots.lost()
    assert not slots.may_open(True, 0.0, 0.0)


def test_a_node_that_is_not_direct_waits_for_its_peers_first() -> None:
    slots = connected()
    assert not slots.may_open(False, 10.0, 11.0)
    assert slots.may_open(False, 10.0, 15.0)


def test_slots_that_failed_are_opened_again_after_a_pause_and_without_new_patience() -> None:
    slots = connected()
    slots.open_first(0b1111, 0.0)
    slots.close()
    slots.failed(10.0)
    assert not slots.may_open(False, 10.0, 10.0)
    assert slots.may_open(False, 10.0, 10.2)


def test_closed_slots_say_what_was_being_read() -> None:
    slots = connected()
    assert slots.open_first(0b1111, 0.0) == 0
    assert list(slots.open_others(3)) == [1, 2]
    slots.read(1, 3, 0.0)
    assert slots.is_reading(3) and not slots.is_reading(2)
    assert slots.close() == [3]
    assert len(slots) == 0


def test_a_chunk_that_has_arrived_frees_its_slot() -> None:
    slots = connected()
    slots.open_first(0b1111, 0.0)
    slots.read(0, 2, 0.0)
    assert slots.ended(2, 0.0) == 0
    assert slots.ended(2, 0.0) is None


def test_wants_are_reported_with_pauses_while_slots_are_open() -> None:
    slots = connected()
    assert slots.report_due == inf
    slots.open_first(0b1000, 0.0)
    assert slots.report_due == inf, "nothing can be reported before the slot is open"
    assert slots.wants.must_report(0b1000, 1.0)
    assert slots.report_due == 1.5
    slots.close()
    assert slots.report_due == inf
