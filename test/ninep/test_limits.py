"""Limits of one session, and of all sessions of a process together."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

from test.support.conversation import attached, drain, say
from test.support.memory_tree import MemoryTree
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.limits import MAX_FIDS, MAX_OPEN, MAX_TAGS, MAX_WAITING, MAX_WALKED, Budget
from xget_lib.ninep.messages import (
    Message,
    Rclunk,
    Rerror,
    Rflush,
    Ropen,
    Rread,
    Rwalk,
    Tattach,
    Tclunk,
    Tflush,
    Topen,
    Tread,
    Tremove,
    Tversion,
    Twalk,
)
from xget_lib.ninep.session import Session
from xget_lib.ninep.wire import NOFID, Qid

FULL = Rerror("Too many open files")


def open_files(session: Session, first: int, count: int) -> list[Message]:
    """The replies to opening so many files under fids from `first` on."""
    opened = []
    for fid in range(first, first + count):
        opened += say(session, Twalk(0, fid, ("hello",)), Topen(fid, 0))[1:]
    return opened


def test_the_limits_are_far_above_what_clients_need() -> None:
    assert (MAX_FIDS, MAX_TAGS, MAX_OPEN, MAX_WAITING) == (65536, 1024, 4096, 256)
    assert MAX_WALKED >= 16 * MAX_FIDS


def test_more_open_files_than_allowed_are_refused_until_one_is_clunked() -> None:
    session = attached(max_open=3)
    assert [type(reply) for reply in open_files(session, 1, 3)] == [Ropen] * 3
    assert open_files(session, 4, 1) == [FULL]
    assert say(session, Tclunk(2)) == [Rclunk()]
    assert [type(reply) for reply in open_files(session, 5, 1)] == [Ropen]
    assert open_files(session, 6, 1) == [FULL]
    say(session, Tremove(5))
    assert [type(reply) for reply in open_files(session, 7, 1)] == [Ropen]


def test_a_file_that_cannot_be_opened_does_not_count_as_open() -> None:
    budget = Budget(1)
    session = attached(open_files=budget)
    for fid in range(1, 5):
        say(session, Twalk(0, fid, ("secret",)), Topen(fid, 0))
    assert budget.used == 0
    assert [type(reply) for reply in open_files(session, 10, 1)] == [Ropen]


def test_sessions_share_the_limits_of_the_process() -> None:
    walked, opened = Budget(9), Budget(2)
    one, other = (attached(walked_files=walked, open_files=opened) for _ in range(2))
    open_files(one, 1, 2)
    assert say(other, Twalk(0, 1, ("hello",)), Topen(1, 0))[1] == FULL
    assert isinstance(say(other, Twalk(0, 2, ()))[0], Rwalk)
    assert say(other, Twalk(0, 3, ()), Tattach(4, NOFID, "", "")) == [FULL, FULL]
    # Moving a fid deeper takes from the limit too.
    assert say(other, Twalk(2, 2, ("hello",))) == [FULL]
    assert isinstance(say(other, Tclunk(1), Twalk(2, 2, ("hello",)))[1], Rwalk)
    assert say(other, Tclunk(2), Twalk(0, 2, ("hello",)))[1] == Rwalk((Qid(0, 7, 2),))
    one.close()
    assert (walked.used, opened.used) == (3, 0)
    assert [type(reply) for reply in open_files(other, 5, 1)] == [Ropen]
    say(other, Tversion(8192, "9P2000"))
    assert (walked.used, opened.used) == (0, 0)
    other.close()
    assert (walked.used, opened.used) == (0, 0)


def test_more_waiting_reads_than_allowed_are_refused_and_the_others_wait_on() -> None:
    tree = MemoryTree()
    session = attached(tree, max_waiting=3)
    say(session, Twalk(0, 1, ("news",)), Topen(1, 0), Tread(1, 0, 100))
    reads = [Tread(1, 0, 100)] * 5
    assert say(session, *reads, first_tag=10) == [Rerror("too many waiting reads")] * 2
    assert session.waiting == 3
    session.retry()
    assert say(session) == []
    assert say(session, Tflush(11), first_tag=20) == [Rflush()]
    assert say(session, Tread(1, 0, 100), first_tag=30) == []
    tree.tell(b"news")
    session.retry()
    assert say(session) == [Rread(b"news")]


def test_walking_back_and_forth_takes_no_memory() -> None:
    session = attached()
    there_and_back = Twalk(0, 0, ("deep", "..") * 8)
    say(session, there_and_back)
    before = sys.getallocatedblocks()
    for _ in range(2_000):  # 32,000 steps
        assert isinstance(say(session, there_and_back)[0], Rwalk)
    assert sys.getallocatedblocks() - before < 100


@pytest.mark.parametrize("names", [("deep",), ("deep", "er"), ("deep", "..", "deep")])
def test_a_long_walk_takes_only_the_memory_of_its_end(names: tuple[str, ...]) -> None:
    """A fid that is moved on and back again counts as what it stands for now."""
    session = attached()
    say(session, Twalk(0, 1, ()))
    tracemalloc.start()
    try:
        for _ in range(1000):
            say(session, Twalk(1, 1, names), Twalk(1, 1, ("..",) * len(names)))
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(1000):
            say(session, Twalk(1, 1, names), Twalk(1, 1, ("..",) * len(names)))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


def test_a_budget_is_taken_whole_or_not_at_all() -> None:
    budget = Budget(3)
    assert budget.take(2) and not budget.take(2)
    assert budget.used == 2 and not budget.spent
    assert budget.take() and budget.spent
    budget.give_back(3)
    assert budget.used == 0


def test_a_partial_message_is_known_by_its_number() -> None:
    session = attached()
    assert session.partial_message is None
    frame = encode(1, Twalk(0, 1, ("hello",)), NINEP2000)
    session.receive(frame[:10])
    begun = session.partial_message
    assert begun is not None
    session.receive(frame[10:12])
    assert session.partial_message == begun
    next_one = encode(2, Twalk(0, 2, ("hello",)), NINEP2000)
    session.receive(frame[12:] + next_one[:3])
    assert session.partial_message == begun + 1
    session.receive(next_one[3:])
    assert session.partial_message is None


def test_no_reference_cycle_is_left_for_the_garbage_collector() -> None:
    """It runs late: a file in a cycle with a traceback would stay open until then."""
    session = attached()
    malformed = bytes.fromhex("09000000 74 0500 0000")
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            session.receive(malformed)
            list(drain(session))
            say(session, Twalk(0, 1, ("nothing",)), Tread(7, 0, 1), Tclunk(9))
        assert gc.collect() == 0
    finally:
        gc.enable()
