"""Conversations with a `Downloader`: what happens, and what it decides."""

from __future__ import annotations

from random import Random

import pytest

from xget_lib.errors import PieceMismatch
from xget_lib.swarm.actions import (
    MASTER,
    Action,
    AskMasterSlot,
    Cancel,
    CloseMasterSlots,
    Connect,
    Disconnect,
    Fetch,
    Finished,
    GiveUp,
    OpenMasterSlot,
    PassSlot,
    RequestSlot,
    SendRemark,
    SendWants,
    Suspended,
)
from xget_lib.swarm.downloader import Downloader
from xget_lib.swarm.tuning import Tuning

GENERATION = b"g" * 32
A, B, C = ("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1)
WRONG = PieceMismatch(b"file", 0, "10.0.0.1:1")


def downloader(
    lacking: int = 0b1111, *, chunks: int = 4, buffers: int = 8, retries: int = 1, tuning: Tuning | None = None
) -> Downloader:
    """A downloader at time 0 that has begun, and knows neither peers nor master."""
    made = Downloader(tuning or Tuning(), Random(1), 0.0, retries=retries)
    made.begin(GENERATION, chunks, lacking, buffers, 0.0)
    return made


def with_peers(*peers: tuple[str, int], lacking: int = 0b1111, buffers: int = 8) -> Downloader:
    """These peers are connected, and hold nothing."""
    made = downloader(lacking, buffers=buffers)
    made.master_named(peers, False, 0.0)
    for peer in peers:
        made.peer_connected(peer)
    return made


def with_master(lacking: int = 0b1111, *, buffers: int = 8, retries: int = 1) -> Downloader:
    """The first slot at the master is open and asks."""
    made = downloader(lacking, buffers=buffers, retries=retries)
    made.master_named([], True, 0.0)
    assert made.master_connected(0.0) == [OpenMasterSlot(0)]
    assert AskMasterSlot(0) in made.master_slot_opened(0, 0.0)
    return made


def fetched(actions: list[Action]) -> int:
    """The one chunk that is fetched now."""
    (chunk,) = (action.chunk for action in actions if isinstance(action, Fetch))
    return chunk


# Peers.


def test_a_chunk_comes_from_a_peer_in_a_slot_that_it_grants() -> None:
    tested = downloader(0b1)
    assert tested.master_named([A], False, 0.0) == [Connect(A)]
    tested.peer_connected(A)
    assert tested.peer_has(A, 0b1, 1.0) == [RequestSlot(A)]
    assert tested.slot_granted(A, 2.0) == [Fetch(A, 0)]
    assert tested.chunk_arrived(A, 0, 3.0) == [PassSlot(A)]
    assert tested.chunk_written(A, 0, 4.0) == [Finished()]


def test_a_used_slot_is_followed_by_the_request_for_the_next_while_the_peer_has_more() -> None:
    tested = with_peers(A)
    tested.peer_has(A, 0b1111, 0.0)
    chunk = fetched(tested.slot_granted(A, 0.0))
    assert tested.chunk_arrived(A, chunk, 1.0) == [RequestSlot(A)]


def test_a_granted_slot_is_passed_when_the_chunk_has_come_from_elsewhere() -> None:
    tested = with_peers(A, B, lacking=0b1)
    tested.peer_has(A, 0b1, 0.0)
    tested.peer_has(B, 0b1, 0.0)
    tested.slot_granted(A, 0.0)
    assert tested.slot_granted(B, 0.1) == [PassSlot(B)]


def test_a_peer_that_gets_something_new_is_asked_for_a_slot() -> None:
    tested = with_peers(A)
    assert tested.peer_has(A, 0, 0.0) == []
    assert tested.peer_has(A, 0b10, 1.0) == [RequestSlot(A)]
    assert tested.peer_has(A, 0b11, 2.0) == []


def test_few_peers_are_asked_at_once() -> None:
    tuning = Tuning(fetches=1, requests=2)
    tested = downloader(tuning=tuning)
    tested.master_named([A, B, C], False, 0.0)
    requests = []
    for peer in (A, B, C):
        tested.peer_connected(peer)
        requests += tested.peer_has(peer, 0b1111, 0.0)
    assert requests == [RequestSlot(A), RequestSlot(B)]


def test_what_a_lost_peer_was_sending_is_fetched_from_another_and_the_peer_is_connected_again() -> None:
    tested = with_peers(A, B, lacking=0b1)
    tested.peer_has(A, 0b1, 0.0)
    tested.slot_granted(A, 0.0)
    tested.peer_has(B, 0b1, 0.0)
    assert tested.peer_gone(A, 1.0) == [RequestSlot(B)]
    assert tested.slot_granted(B, 1.0) == [Fetch(B, 0)]
    assert Connect(A) not in tested.tick(1.1)
    assert Connect(A) in tested.tick(3.0)


def test_a_slot_that_a_lost_peer_never_granted_is_requested_of_another() -> None:
    tested = downloader(0b1, tuning=Tuning(fetches=1, requests=1))
    tested.master_named([A, B], False, 0.0)
    for peer in (A, B):
        tested.peer_connected(peer)
    assert tested.peer_has(A, 0b1, 0.0) == [RequestSlot(A)]
    assert tested.peer_has(B, 0b1, 0.0) == []
    assert RequestSlot(B) in tested.peer_gone(A, 1.0)


def test_a_peer_that_refuses_a_chunk_is_not_asked_for_it_again() -> None:
    tested = with_peers(A, lacking=0b1)
    tested.peer_has(A, 0b1, 0.0)
    tested.slot_granted(A, 0.0)
    assert tested.chunk_failed(A, 0, 1.0) == [Suspended(A, "it refuses chunk 0"), PassSlot(A)]
    assert tested.peer_has(A, 0b1, 1.5) == []
    assert RequestSlot(A) in tested.tick(3.5)


def test_a_peer_that_refuses_everything_that_it_says_it_has_is_asked_less_and_less() -> None:
    tested = with_peers(A)
    asked = 0
    for quarter in range(400):
        tested.peer_has(A, 0b1111, quarter / 4)
        actions = tested.tick(quarter / 4)
        if RequestSlot(A) in actions:
            asked += 1
            tested.chunk_failed(A, fetched(tested.slot_granted(A, quarter / 4)), quarter / 4)
    assert asked < 40


def test_a_peer_that_lies_is_disconnected_and_reported_and_never_used_again() -> None:
    tested = with_peers(A, B, lacking=0b1)
    tested.peer_has(A, 0b1, 0.0)
    tested.slot_granted(A, 0.0)
    tested.peer_has(B, 0b1, 0.0)
    tested.chunk_arrived(A, 0, 1.0)
    actions = tested.chunk_wrong(A, 0, WRONG, 1.0)
    assert actions == [SendRemark(str(WRONG)), Disconnect(A), RequestSlot(B)]
    assert tested.peer_gone(A, 1.0) == []
    assert tested.master_named([A, B], False, 2.0) == []
    assert tested.peer_registered(A, GENERATION, 0.0) == []
    tested.slot_granted(B, 2.0)
    assert Finished() in tested.chunk_written(B, 0, 3.0)


def test_a_late_chunk_is_fetched_from_a_second_peer_and_the_first_is_told_to_stop() -> None:
    tested = with_peers(A, B, C, lacking=0b1)
    for peer in (A, B, C):
        tested.peer_has(peer, 0b1, 0.0)
    assert tested.slot_granted(A, 0.0) == [Fetch(A, 0)]
    assert tested.slot_granted(B, 0.0) == [PassSlot(B)]
    tested.slot_granted(C, 0.0)
    assert set(tested.tick(3.0)) == {RequestSlot(B), RequestSlot(C)}
    assert tested.slot_granted(B, 3.0) == [Fetch(B, 0)]
    assert tested.slot_granted(C, 3.1) == [PassSlot(C)], "a third source for one chunk"
    assert tested.chunk_arrived(B, 0, 3.2) == [PassSlot(B)]
    assert tested.chunk_written(B, 0, 3.3) == [Cancel(A, 0), PassSlot(A), Finished()]


def test_two_peers_that_send_nothing_do_not_hold_back_a_chunk() -> None:
    tested = with_peers(A, B, C, lacking=0b1)
    for peer in (A, B, C):
        tested.peer_has(peer, 0b1, 0.0)
    tested.slot_granted(A, 0.0)
    tested.slot_granted(B, 0.0)
    tested.slot_granted(C, 0.0)
    assert Suspended(A, "chunk 0 is overdue") in tested.tick(4.0)
    assert tested.slot_granted(B, 4.0) == [Fetch(B, 0)]
    assert tested.slot_granted(C, 4.1) == [PassSlot(C)]
    actions = tested.tick(30.0)
    assert Suspended(B, "chunk 0 is overdue") in actions and RequestSlot(C) in actions
    assert tested.slot_granted(C, 30.0)[-3:] == [Cancel(A, 0), PassSlot(A), Fetch(C, 0)]
    tested.chunk_arrived(C, 0, 30.1)
    assert Finished() in tested.chunk_written(C, 0, 30.2)


def test_a_chunk_that_a_peer_does_not_send_is_asked_of_the_master_too_and_its_offer_is_taken() -> None:
    tested = with_master(0b1)
    tested.master_named([A], True, 0.0)
    tested.peer_connected(A)
    tested.peer_has(A, 0b1, 0.0)
    assert tested.slot_granted(A, 0.0) == [Fetch(A, 0)]
    tested.tick(4.0)
    assert SendWants(0b1) in tested.tick(5.0)
    assert Fetch(MASTER, 0) in tested.chunk_offered(0, 0, 5.0)
    tested.chunk_arrived(MASTER, 0, 5.1)
    assert tested.chunk_written(MASTER, 0, 5.2)[0] == Cancel(A, 0)


def test_chunks_that_do_not_come_do_not_count_as_being_fetched() -> None:
    tested = downloader(0b1111_1111, chunks=8, tuning=Tuning(fetches=2, requests=1))
    hosts = [(f"10.0.0.{number}", 1) for number in range(4)]
    tested.master_named(hosts, False, 0.0)
    for peer in hosts:
        tested.peer_connected(peer)
        tested.peer_has(peer, 0b1111_1111, 0.0)
    for peer in hosts[:2]:
        fetched(tested.slot_granted(peer, 0.0))
    others = [action.peer for action in tested.tick(4.0) if isinstance(action, RequestSlot)]
    assert set(others) == set(hosts[2:])
    for peer in others:
        fetched(tested.slot_granted(peer, 4.0))


def test_a_slot_that_is_not_granted_costs_only_a_deadline() -> None:
    tested = downloader(0b11, tuning=Tuning(fetches=1, requests=1))
    tested.master_named([A, B], True, 0.0)
    tested.master_connected(0.0)
    tested.master_slot_opened(0, 0.0)
    for peer in (A, B):
        tested.peer_connected(peer)
    assert tested.peer_has(A, 0b11, 0.0) == [RequestSlot(A)]
    assert tested.peer_has(B, 0, 0.0) == []
    assert Suspended(A, "it grants no slot") in tested.tick(2.5)
    assert SendWants(0b11) in tested.tick(3.0), "what only that peer has is wanted from the master"
    assert tested.peer_has(B, 0b11, 3.0) == [RequestSlot(B)]


def with_a_slow_peer() -> Downloader:
    """A peer says that it has all of 8 chunks and sends one in a second. The node has asked for a second one."""
    tested = downloader(0xFF, chunks=8)
    tested.master_named([A], True, 0.0)
    tested.master_connected(0.0)
    tested.master_slot_opened(0, 0.0)
    tested.peer_connected(A)
    tested.peer_has(A, 0xFF, 0.0)
    chunk = fetched(tested.slot_granted(A, 0.0))
    tested.chunk_arrived(A, chunk, 1.0)
    tested.chunk_written(A, chunk, 1.0)
    fetched(tested.slot_granted(A, 1.0))
    return tested


def test_while_peers_are_slow_and_the_master_has_sent_nothing_one_chunk_is_wanted_of_it() -> None:
    (wants,) = (action for action in with_a_slow_peer().tick(1.0) if isinstance(action, SendWants))
    assert wants.chunks.bit_count() == 1


def test_what_only_slower_peers_than_the_master_have_is_wanted_of_the_master() -> None:
    tested = with_a_slow_peer()
    (probe,) = (action.chunks for action in tested.tick(1.0) if isinstance(action, SendWants))
    chunk = probe.bit_length() - 1
    assert fetched(tested.chunk_offered(0, chunk, 1.0)) == chunk
    tested.chunk_arrived(MASTER, chunk, 1.1)
    tested.chunk_written(MASTER, chunk, 1.1)
    assert SendWants(tested._picker.not_fetching) in tested.tick(1.6)


def test_what_faster_peers_than_the_master_have_is_not_wanted_of_the_master() -> None:
    tested = with_a_slow_peer()
    tested.tick(1.0)
    chunk = fetched(tested.chunk_offered(0, tested._picker.probe.bit_length() - 1, 1.0))
    tested.chunk_arrived(MASTER, chunk, 3.0)
    tested.chunk_written(MASTER, chunk, 3.0)
    assert not any(isinstance(action, SendWants) for action in tested.tick(1.8))


def test_a_slot_that_is_granted_late_is_used() -> None:
    tested = with_peers(A, lacking=0b1)
    tested.peer_has(A, 0b1, 0.0)
    assert Suspended(A, "it grants no slot") in tested.tick(100.0)
    assert tested.slot_granted(A, 101.0) == [Fetch(A, 0)]


def test_at_a_standstill_peers_that_were_suspended_are_asked_again() -> None:
    tested = with_peers(A, lacking=0b11)
    tested.peer_has(A, 0b11, 0.0)
    for _ in range(6):
        tested.chunk_failed(A, fetched(tested.slot_granted(A, 0.0)), 0.0)
        tested._picker.speed.resume(A)
        tested.peer_has(A, 0b11, 0.0)
        tested.tick(0.0)
    tested.chunk_failed(A, fetched(tested.slot_granted(A, 0.0)), 0.0)
    tested.peer_has(A, 0b11, 0.0)
    assert RequestSlot(A) not in tested.tick(3.0), "it is suspended for a minute"
    assert RequestSlot(A) in tested.tick(5.0)


def test_one_host_does_not_get_all_that_is_fetched_at_once() -> None:
    crowd = [("10.0.0.9", port) for port in range(1, 9)]
    tested = with_peers(*crowd, A)
    everything = 0b1111
    for peer in (*crowd, A):
        tested.peer_has(peer, everything, 0.0)
    granted = [tested.slot_granted(peer, 0.0) for peer in crowd]
    assert sum(isinstance(action, Fetch) for actions in granted for action in actions) == 2
    assert isinstance(tested.slot_granted(A, 0.0)[-1], Fetch)


def test_overdue_chunks_give_their_buffers_to_others_that_are_faster() -> None:
    tested = with_peers(A, B, lacking=0b1111, buffers=2)
    tested.peer_has(A, 0b1111, 0.0)
    tested.peer_has(B, 0b1111, 0.0)
    late, early = fetched(tested.slot_granted(A, 0.0)), fetched(tested.slot_granted(B, 0.0))
    tested.chunk_arrived(B, early, 1.0)
    tested.chunk_written(B, early, 1.0)
    fetched(tested.slot_granted(B, 1.0))
    assert Cancel(A, late) in tested.tick(30.0)


def test_peers_that_register_before_the_download_are_connected_to_when_it_begins() -> None:
    tested = Downloader(Tuning(), Random(1), 0.0)
    assert tested.peer_registered(A, GENERATION, 0.0) == []
    assert tested.peer_registered(B, b"o" * 32, 0.0) == []
    assert tested.master_named([C], False, 0.0) == []
    assert tested.begin(GENERATION, 4, 0b1111, 8, 0.0) == [Connect(C), Connect(A)]


def test_a_node_that_lacks_nothing_is_finished_at_once_and_connects_to_nobody() -> None:
    tested = Downloader(Tuning(), Random(1), 0.0)
    assert tested.begin(GENERATION, 4, 0, 8, 0.0) == [Finished()]
    assert tested.master_named([A], True, 0.0) == []
    assert tested.master_connected(0.0) == []


def test_a_second_generation_begins_without_the_state_of_the_first() -> None:
    tested = with_peers(A)
    tested.peer_has(A, 0b1111, 0.0)
    tested.end()
    assert tested.sources == 0
    assert tested.slot_granted(A, 0.0) == []
    assert tested.begin(b"n" * 32, 2, 0b11, 8, 1.0) == [Connect(A)]


# Buffers.


def test_no_chunk_is_fetched_without_a_buffer() -> None:
    tested = with_peers(A, B, buffers=1)
    tested.peer_has(A, 0b1111, 0.0)
    tested.peer_has(B, 0b1111, 0.0)
    chunk = fetched(tested.slot_granted(A, 0.0))
    assert tested.slot_granted(B, 0.0) == [PassSlot(B)]
    assert tested.chunk_arrived(A, chunk, 1.0) == [PassSlot(A)], "the chunk is not written yet"
    assert RequestSlot(A) in tested.chunk_written(A, chunk, 2.0)


def test_an_offer_waits_for_a_buffer() -> None:
    tested = with_master(buffers=1)
    assert fetched(tested.chunk_offered(0, 0, 0.0)) == 0
    tested.master_slot_opened(1, 0.0)
    assert tested.chunk_offered(1, 1, 0.0) == []
    tested.chunk_arrived(MASTER, 0, 1.0)
    assert Fetch(MASTER, 1) in tested.chunk_written(MASTER, 0, 2.0)


# The master.


def test_the_other_slots_are_opened_when_the_master_offers_the_first_chunk() -> None:
    tested = with_master()
    assert tested.chunk_offered(0, 2, 0.0) == [OpenMasterSlot(1), Fetch(MASTER, 2)]
    assert tested.chunk_arrived(MASTER, 2, 1.0) == [AskMasterSlot(0)]


def test_slots_that_wait_too_long_for_an_offer_are_opened_anew() -> None:
    tested = with_master()
    assert CloseMasterSlots() not in tested.tick(14.0)
    assert tested.tick(15.5) == [CloseMasterSlots(), OpenMasterSlot(0)]
    tested.master_slot_opened(0, 17.0)
    assert CloseMasterSlots() not in tested.tick(44.0), "it waits longer each time"
    assert CloseMasterSlots() in tested.tick(48.0)


def test_slots_are_not_overdue_while_chunks_come() -> None:
    tested = with_master()
    tested.chunk_offered(0, 2, 10.0)
    assert CloseMasterSlots() not in tested.tick(26.0), "a chunk is on its way"
    tested.chunk_arrived(MASTER, 2, 27.0)
    tested.chunk_written(MASTER, 2, 27.0)
    assert CloseMasterSlots() not in tested.tick(41.0)
    assert CloseMasterSlots() in tested.tick(27.0 + 8 * 17.0 + 1.0), "chunks take 17 s here"


def test_an_offered_chunk_that_is_here_is_not_fetched() -> None:
    tested = with_master(0b1110)
    assert tested.chunk_offered(0, 0, 0.0) == [OpenMasterSlot(1), AskMasterSlot(0)]


def test_a_node_that_is_told_to_ask_its_peers_turns_to_the_master_when_nothing_arrives() -> None:
    tested = downloader()
    assert tested.master_named([A], False, 0.0) == [Connect(A)]
    assert tested.master_connected(0.0) == []
    assert tested.tick(1.0) == []
    assert tested.tick(10.0) == [OpenMasterSlot(0)]


def test_as_long_as_chunks_arrive_it_does_not_turn_to_the_master() -> None:
    tested = with_peers(A)
    tested.master_connected(0.0)
    tested.peer_has(A, 0b1111, 0.0)
    for second in (1.5, 3.0, 4.5):
        chunk = fetched(tested.slot_granted(A, second))
        assert tested.chunk_arrived(A, chunk, second) == [RequestSlot(A)]
        assert OpenMasterSlot(0) not in tested.chunk_written(A, chunk, second)
        assert OpenMasterSlot(0) not in tested.tick(second + 1.0)


def test_when_peers_have_had_their_time_and_are_slow_it_turns_to_the_master_too() -> None:
    tested = downloader((1 << 64) - 1, chunks=64)
    tested.master_named([A], False, 0.0)
    tested.master_connected(0.0)
    tested.peer_connected(A)
    tested.peer_has(A, (1 << 64) - 1, 0.0)
    opened = None
    for second in range(1, 40):
        chunk = fetched(tested.slot_granted(A, second))
        decided = tested.chunk_arrived(A, chunk, second) + tested.chunk_written(A, chunk, second) + tested.tick(second)
        if OpenMasterSlot(0) in decided:
            opened = second
            break
    assert opened is not None and 15 <= opened <= 31
    (wants,) = (action for action in tested.master_slot_opened(0, opened) if isinstance(action, SendWants))
    assert wants.chunks.bit_count() == 1


def test_a_node_that_holds_a_part_reports_what_it_wants_before_it_asks() -> None:
    tested = downloader(0b1010)
    tested.master_named([], True, 0.0)
    tested.master_connected(0.0)
    assert tested.master_slot_opened(0, 0.0) == [SendWants(0b1010), AskMasterSlot(0)]


def test_nothing_is_reported_as_wanted_before_a_slot_is_open() -> None:
    tested = downloader(0b1010)
    tested.master_named([], True, 0.0)
    assert tested.master_connected(0.0) == [OpenMasterSlot(0)]
    assert tested.tick(0.0) == tested.tick(1.0) == []
    assert tested.master_slot_opened(0, 2.0) == [SendWants(0b1010), AskMasterSlot(0)]


def test_what_a_lost_peer_had_is_reported_as_wanted() -> None:
    tested = with_peers(A, lacking=0b1000)
    tested.master_connected(0.0)
    tested.peer_has(A, 0b1000, 0.0)
    assert tested.master_named([A], True, 0.0) == [OpenMasterSlot(0)]
    assert tested.master_slot_opened(0, 0.0) == [SendWants(0), AskMasterSlot(0)]
    tested.peer_gone(A, 1.0)
    assert SendWants(0b1000) in tested.tick(2.0)


def test_when_the_master_is_lost_peers_go_on_and_its_chunks_are_fetched_from_them() -> None:
    tested = with_master(0b1)
    tested.chunk_offered(0, 0, 0.0)
    tested.master_named([A], True, 0.0)
    tested.peer_connected(A)
    assert tested.peer_has(A, 0b1, 0.0) == []
    assert tested.master_lost(1.0) == [RequestSlot(A)]
    assert tested.tick(2.0) == []
    assert tested.master_connected(6.0) == [OpenMasterSlot(0)]
    assert tested.slot_granted(A, 6.0) == [Fetch(A, 0)]


def test_slots_that_are_lost_are_opened_again_after_a_pause() -> None:
    tested = with_master()
    assert tested.master_slots_lost(1.0) == []
    assert tested.tick(1.001) == []
    assert tested.tick(2.0) == [OpenMasterSlot(0)]


@pytest.mark.parametrize("retries", [0, 2])
def test_a_wrong_chunk_of_the_master_is_taken_again_so_many_times_and_then_without_what_is_wrong(retries: int) -> None:
    tested = with_master(0b1, retries=retries)
    for attempt in range(retries + 1):
        tested.chunk_offered(0, 0, attempt)
        tested.chunk_arrived(MASTER, 0, attempt)
        actions = tested.chunk_wrong(MASTER, 0, WRONG, attempt)
        assert (GiveUp(0, WRONG.source) in actions) == (attempt == retries)
    assert Fetch(MASTER, 0) in tested.chunk_offered(0, 0, 10.0)
    tested.chunk_arrived(MASTER, 0, 10.0)
    assert Finished() in tested.chunk_written(MASTER, 0, 10.0)


def test_a_chunk_whose_other_part_is_just_being_written_is_left_to_the_other_source() -> None:
    tested = with_peers(A, B, lacking=0b1)
    tested.peer_has(A, 0b1, 0.0)
    tested.peer_has(B, 0b1, 0.0)
    tested.slot_granted(A, 0.0)
    tested.slot_granted(B, 0.0)
    tested.tick(100.0)
    assert tested.slot_granted(B, 100.0) == [Fetch(B, 0)]
    for source in (A, B):
        tested.chunk_arrived(source, 0, 101.0)
    assert Finished() not in tested.chunk_incomplete(A, 0, 102.0)
    assert Finished() in tested.chunk_written(B, 0, 103.0)
