"""Limits of one session, and of all sessions of a process together."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

from test.support.conversation import attached, drain, say
from test.support.memory_tree import MemoryFile, MemoryHandle, MemoryTree
from xget_lib.ninep.budget import Account, Budget
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.file import WAITING, Waiting
from xget_lib.ninep.limits import (
    FID_COST,
    MAX_FIDS,
    MAX_OPEN,
    MAX_QUEUED_BYTES,
    MAX_REQUEST,
    MAX_TAGS,
    MAX_WAITING,
    MEMORY_OF_HOST,
    REQUEST_COST,
    TEXTS_COST,
    WALKED_COST,
    Limits,
)
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
    Twrite,
)
from xget_lib.ninep.session import Session
from xget_lib.ninep.wire import NOFID

FULL = Rerror("Too many open files")


def open_files(session: Session, first: int, count: int) -> list[Message]:
    """The replies to opening so many files under fids from `first` on."""
    opened = []
    for fid in range(first, first + count):
        opened += say(session, Twalk(0, fid, ("hello",)), Topen(fid, 0))[1:]
    return opened


def test_the_limits_are_far_above_what_clients_need() -> None:
    assert (MAX_FIDS, MAX_TAGS, MAX_OPEN, MAX_WAITING) == (65536, 256, 4096, 256)
    assert MEMORY_OF_HOST >= 40_000 * (FID_COST + WALKED_COST)


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
    budget = Budget(limit=1)
    session = attached(open_files=budget)
    for fid in range(1, 5):
        say(session, Twalk(0, fid, ("secret",)), Topen(fid, 0))
    assert budget.used == 0
    assert [type(reply) for reply in open_files(session, 10, 1)] == [Ropen]


def session_of(account: Account, limits: Limits, tree: MemoryTree | None = None) -> Session:
    session = Session((tree or MemoryTree()).attach, limits=limits, account=account)
    account.end = lambda why: session.close()
    say(session, Tversion(8192, "9P2000"), Tattach(0, NOFID, "glenda", ""))
    return session


ROOT, WALKED = FID_COST + WALKED_COST, FID_COST + WALKED_COST
"""Memory of a fid of the root, and of one of a file in it."""


def test_sessions_share_the_limits_of_the_process() -> None:
    limits = Limits(memory=Budget(limit=2 * ROOT + 2 * WALKED + FID_COST), open_files=Budget(limit=2))
    one, other = (session_of(Account(host), limits) for host in ("10.0.0.1", "10.0.0.1"))
    open_files(one, 1, 2)
    assert say(other, Twalk(0, 1, ()), Topen(1, 0)) == [Rwalk(()), FULL]
    assert say(other, Twalk(0, 2, ()), Tattach(4, NOFID, "", "")) == [FULL, FULL]
    # Moving a fid deeper takes from the limit too.
    assert say(other, Twalk(1, 1, ("hello",))) == [FULL]
    one.close()
    assert (limits.memory.used, limits.open_files.used) == (ROOT + FID_COST, 0)
    assert [type(reply) for reply in open_files(other, 5, 1)] == [Ropen]
    say(other, Tversion(8192, "9P2000"))
    assert (limits.memory.used, limits.open_files.used) == (0, 0)
    other.close()
    assert (limits.memory.used, limits.open_files.used) == (0, 0)


def test_a_host_that_opens_everything_loses_a_connection_to_one_that_has_less() -> None:
    limits = Limits(open_files=Budget(limit=40))
    greedy = [session_of(Account("10.0.0.66"), limits) for _ in range(4)]
    assert [type(reply) for session in greedy for reply in open_files(session, 1, 10)] == [Ropen] * 40
    assert open_files(greedy[3], 11, 1) == [FULL]  # nobody else loses anything for it
    honest = session_of(Account("10.0.0.1"), limits)
    assert [type(reply) for reply in open_files(honest, 1, 10)] == [Ropen] * 10
    assert [session.fid_count for session in greedy] == [0, 11, 11, 12], "the one that was not used for longest ends"
    assert say(greedy[0], Tattach(0, NOFID, "", "")) == [FULL]
    # Once it has as much as the other, it is refused as well.
    assert [type(reply) for reply in open_files(honest, 11, 10)] == [Ropen] * 10
    assert open_files(honest, 21, 1) == [FULL]
    assert limits.open_files.used == 40


def test_a_session_that_is_ended_while_it_opens_a_file_leaves_nothing_open() -> None:
    """The request may have to wait for another process meanwhile."""
    tree = MemoryTree()
    limits = Limits()

    class Slow(MemoryFile):
        def open(self, mode: int) -> MemoryHandle:
            session.close()
            return self._opened(MemoryHandle(self))

    tree.root = MemoryFile(tree, 1, "/", children=(Slow(tree, 50, "slow"),))
    session = session_of(Account("10.0.0.1"), limits, tree)
    assert say(session, Twalk(0, 1, ("slow",)), Topen(1, 0))[1] == Rerror("fid unknown or out of range")
    assert [handle.clunks for handle in tree.handles] == [1]
    assert (limits.memory.used, limits.open_files.used) == (0, 0)


class Kept(MemoryHandle):
    """Keeps a megabyte for its reader from the first read on, or from `put` on if that read waited."""

    text = b""

    @property
    def kept(self) -> int:
        return len(self.text)

    def read(self, offset: int, count: int) -> bytes | Waiting:
        if self.file.name == "late" and not self.text:
            return WAITING
        self.text = self.text or bytes(1 << 20)
        return self.text[offset : offset + count]


class Keeping(MemoryFile):
    def open(self, mode: int) -> MemoryHandle:
        return self._opened(Kept(self))


def test_what_open_files_keep_counts_as_memory_of_their_host() -> None:
    tree = MemoryTree()
    tree.root = MemoryFile(tree, 1, "/", children=(Keeping(tree, 50, "kept"), Keeping(tree, 51, "late")))
    limits = Limits(memory=Budget(per_host=5 << 19))
    session = session_of(Account("10.0.0.1"), limits, tree)
    for fid in (1, 2, 3):
        assert isinstance(say(session, Twalk(0, fid, ("kept",)), Topen(fid, 0))[1], Ropen)
    assert [say(session, Tread(fid, 0, 1)) for fid in (1, 2)] == [[Rread(b"\0")]] * 2
    assert say(session, Tread(3, 0, 1), Tread(3, 0, 1)) == [
        Rerror("Cannot allocate memory"),
        Rerror("bad use of fid"),
    ]
    assert [handle.clunks for handle in tree.handles] == [0, 0, 1]
    say(session, Tclunk(1), Tclunk(2))
    assert limits.memory.used < 1 << 19
    # A read that is flushed does not hide what arrives for it.
    say(session, Twalk(0, 4, ("late",)), Topen(4, 0), Tread(4, 0, 1), first_tag=10)
    say(session, Tflush(12), first_tag=20)
    late = tree.handles[-1]
    assert isinstance(late, Kept)
    late.text = bytes(1 << 20)
    session.retry()
    assert limits.memory.used > 1 << 20


def test_more_requests_than_the_queue_takes_are_not_decoded_before_some_are_answered() -> None:
    session = attached(max_tags=10)
    session.receive(b"".join(encode(tag, Tclunk(99), NINEP2000) for tag in range(25)))
    answered = []
    while True:
        assert len(session._queue) <= 10
        answered += [reply.tag for reply in drain(session)]
        if not session.full:
            break
        session.receive_rest()
    assert answered == list(range(25))


def test_large_requests_fill_the_queue_sooner() -> None:
    session = attached()
    say(session, Tversion(1 << 20, "9P2000"), Tattach(0, NOFID, "", ""))
    write = Twrite(0, 0, bytes(MAX_REQUEST - 23))
    count = -(-MAX_QUEUED_BYTES // (MAX_REQUEST + TEXTS_COST))
    session.receive(b"".join(encode(tag, write, NINEP2000) for tag in range(count)))
    assert not session.full
    session.receive(encode(count, Tclunk(9), NINEP2000))
    assert session.full and len(session._queue) == count
    # A flush takes one out, and so does a reply.
    assert len(list(drain(session))) == count
    session.receive_rest()
    assert [reply.tag for reply in drain(session)] == [count]
    assert not session.full


def test_a_request_that_is_too_large_is_answered_with_an_error_and_takes_no_memory() -> None:
    session = attached()
    say(session, Tversion(1 << 20, "9P2000"), Tattach(0, NOFID, "", ""))
    frame = encode(7, Twrite(0, 0, bytes(900_000)), NINEP2000)
    for at in range(0, len(frame), 50_000):
        session.receive(frame[at : at + 50_000])
        assert session._framer.kept < 10
    assert session.partial_message is None
    (reply,) = drain(session)
    assert decode(reply.header, NINEP2000) == (7, Rerror(f"a request may have {MAX_REQUEST} bytes"))
    assert isinstance(say(session, Twalk(0, 1, ("hello",)))[0], Rwalk)


def test_requests_that_wait_and_parts_of_messages_count_as_memory_of_their_host() -> None:
    limits = Limits(memory=Budget(per_host=ROOT + WALKED + 30 * REQUEST_COST))
    one, other = (session_of(Account("10.0.0.1"), limits) for _ in range(2))
    say(other, Tclunk(0))
    say(one, Twalk(0, 1, ("news",)), Topen(1, 0), Tread(1, 0, 100))
    say(one, *[Tread(1, 0, 100)] * 10, first_tag=10)
    assert one.count_memory() and limits.memory.used == ROOT + WALKED + 10 * REQUEST_COST
    other.receive(encode(1, Twalk(0, 1, ("hello" * 200,) * 4), NINEP2000)[:4000])
    assert other.count_memory()
    other.receive(bytes(10))
    say(one, *[Tread(1, 0, 100)] * 10, first_tag=30)
    assert not one.count_memory(), "a session of the same host has the rest"
    other.close()
    assert one.count_memory()
    say(one, *[Tflush(tag) for tag in (*range(10, 20), *range(30, 40))], first_tag=50)
    assert one.count_memory() and limits.memory.used == ROOT + WALKED


def test_waiting_reads_of_a_host_are_limited() -> None:
    limits = Limits(waiting=Budget(per_host=3))
    tree = MemoryTree()
    sessions = [session_of(Account("10.0.0.1"), limits, tree) for _ in range(2)]
    for session in sessions:
        say(session, Twalk(0, 1, ("hello",)), Twalk(0, 1, ("news",)), Tclunk(1), Twalk(0, 1, ("news",)), Topen(1, 0))
        say(session, Tread(1, 0, 1))
        assert say(session, Tread(1, 0, 1), first_tag=10) == []
    one, other = sessions
    assert say(one, Tread(1, 0, 1), first_tag=11) == []
    assert say(other, Tread(1, 0, 1), first_tag=11) == [Rerror("too many waiting reads")]
    for session in sessions:  # those that wait already go on waiting
        session.retry()
        assert say(session) == []
    assert say(one, Tflush(11), first_tag=12) == [Rflush()]
    assert say(other, Tread(1, 0, 1), first_tag=11) == []
    assert limits.waiting.used == 3


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
