"""Conversations with an `Uploader`: what readers of a node do, and what it decides."""

from __future__ import annotations

import pytest

from xget_lib.swarm.actions import Announce, GrantUploadSlot, SendRegistration
from xget_lib.swarm.tuning import Tuning
from xget_lib.swarm.uploader import Uploader

GENERATION = b"g" * 32


def test_upload_slots_are_granted_up_to_the_limit() -> None:
    tested = Uploader(Tuning(uploads=2), 0.0)
    assert tested.slot_requested(1, "10.0.0.1", 0.0) == [GrantUploadSlot(1)]
    assert tested.slot_requested(2, "10.0.0.2", 0.0) == [GrantUploadSlot(2)]
    assert tested.slot_requested(3, "10.0.0.3", 0.0) == []
    assert tested.slot_ended(1, 0.1) == [GrantUploadSlot(3)]


def test_a_reader_that_is_stuck_does_not_keep_the_others_waiting() -> None:
    tested = Uploader(Tuning(uploads=1), 0.0)
    tested.slot_requested(1, "10.0.0.1", 0.0)
    tested.slot_requested(2, "10.0.0.2", 0.0)
    assert tested.next_tick < 1.0
    assert tested.tick(1.0) == []
    assert tested.tick(100.0) == [GrantUploadSlot(2)]


def test_changes_are_announced_at_once_and_then_after_a_pause() -> None:
    tested = Uploader(Tuning(have_least=0.03), 0.0)
    assert tested.held_changed(1.0) == [Announce()]
    assert tested.held_changed(1.001) == []
    assert tested.next_tick == pytest.approx(1.03)
    assert tested.tick(1.031) == [Announce()]
    assert tested.tick(2.0) == []


def test_the_master_hears_now_and_then_how_much_a_node_holds() -> None:
    tested = Uploader(Tuning(register_pause=10.0, register_early=2.0), 0.0)
    assert tested.serves(GENERATION, 0, 0.0) == [Announce()]
    assert SendRegistration() not in tested.held_changed(1.0)
    assert SendRegistration() in tested.tick(2.0)
    assert SendRegistration() not in tested.held_changed(5.0)
    assert tested.next_tick <= 12.0
    assert SendRegistration() in tested.tick(12.0)
    assert SendRegistration() not in tested.held_changed(15.0)
    assert SendRegistration() in tested.tick(22.0)
    assert SendRegistration() in tested.held_changed(40.0)


def test_the_master_hears_early_how_fast_each_generation_comes() -> None:
    tested = Uploader(Tuning(register_pause=10.0, register_early=2.0), 0.0)
    tested.serves(GENERATION, 0, 0.0)
    tested.tick(2.0)
    assert SendRegistration() in tested.serves(b"n" * 32, 7, 5.0)
    assert SendRegistration() not in tested.held_changed(6.0)
    assert SendRegistration() in tested.tick(7.0)
    assert SendRegistration() not in tested.held_changed(8.0)
    assert SendRegistration() in tested.tick(17.0)


def test_the_master_hears_at_once_of_another_generation() -> None:
    tested = Uploader(Tuning(register_pause=10.0), 0.0)
    assert SendRegistration() in tested.serves(GENERATION, 7, 0.0)
    assert SendRegistration() not in tested.serves(GENERATION, 8, 0.1)
    assert SendRegistration() in tested.serves(b"n" * 32, 0, 0.2)


def test_the_master_hears_at_once_that_a_download_is_complete() -> None:
    tested = Uploader(Tuning(register_pause=10.0), 0.0)
    assert SendRegistration() in tested.completed(1.0)
    assert SendRegistration() not in tested.held_changed(2.0)
    assert SendRegistration() in tested.tick(11.0)
