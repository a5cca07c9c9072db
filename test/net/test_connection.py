"""A server's side of a connection, over loopback: every reply is whole, whatever the peer does."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test.support.descriptors import open_descriptors
from test.support.memory_tree import MemoryFile, MemoryHandle
from test.support.network import Peer, Sent, Server, file_parts, quiet_hub, until
from test.support.strategies import examples
from xget_lib.errors import NotHeld
from xget_lib.net import connection, outgoing
from xget_lib.net.send_turns import Flow
from xget_lib.ninep.budget import Account
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.file import Content, OpenExtent
from xget_lib.ninep.limits import MAX_QUEUED_BYTES
from xget_lib.ninep.messages import (
    OWRITE,
    Rclunk,
    Rerror,
    Rflush,
    Rread,
    Rstat,
    Rversion,
    Tclunk,
    Tflush,
    Topen,
    Tread,
    Tstat,
    Tversion,
    Twalk,
    Twrite,
)

SMALL = 4096  # bytes asked for a socket's buffer; the kernel gives a few more


@pytest.fixture(autouse=True)
def printed() -> Iterator[io.StringIO]:
    with quiet_hub() as printed:
        yield printed


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(send_buffer=SMALL)
    yield server
    server.close()
    # However a connection ends, everything that it had open is closed exactly once.
    assert [handle.clunks for handle in server.tree.handles] == [1] * len(server.tree.handles)


@pytest.fixture
def peer(server: Server) -> Iterator[Peer]:
    peer = Peer(server.port, receive_buffer=SMALL)
    yield peer
    peer.close()
    until(lambda: len(server.ended) == len(server.connections))


def open_file(peer: Peer, name: str, fid: int = 1, mode: int = 0) -> None:
    peer.say(Twalk(0, fid, (name,)), Topen(fid, mode))
    assert not isinstance(peer.hear()[1], Rerror)
    assert not isinstance(peer.hear()[1], Rerror)


def pattern(size: int) -> bytes:
    return bytes(at * 7 % 251 for at in range(size))


def test_requests_that_arrive_together_are_answered_in_order(peer: Peer) -> None:
    peer.attach()
    open_file(peer, "hello")
    peer.say(*(Tread(1, offset, 3) for offset in (0, 3, 6, 9)))
    assert [peer.hear() for _ in range(4)] == [
        (0, Rread(b"hel")),
        (1, Rread(b"lo,")),
        (2, Rread(b" 9P")),
        (3, Rread(b"\n")),
    ]


def test_a_request_that_arrives_byte_by_byte_is_answered(peer: Peer) -> None:
    for byte in bytes.fromhex("13000000 64 ffff 00200000 0600 395032303030"):
        peer.sock.sendall(bytes([byte]))
        gevent.sleep(0)
    assert peer.hear()[1] == Rversion(8192, "9P2000")


def test_a_file_is_sent_whole_through_small_buffers(server: Server, peer: Peer, tmp_path: Path) -> None:
    data = pattern(300_000)
    (tmp_path / "file").write_bytes(data)
    server.add(Sent(server.tree, 50, "large", size=len(data), parts=file_parts(tmp_path / "file")))
    peer.attach()
    open_file(peer, "large")
    peer.say(Tread(1, 5, 100_000), Tread(1, 100_005, 1 << 20), Tread(1, 300_000, 1))
    gevent.sleep(0.01)  # all buffers are full
    assert [peer.hear()[1] for _ in range(3)] == [Rread(data[5:100_005]), Rread(data[100_005:]), Rread(b"")]
    assert server.sent == len(data) - 5


def test_a_connection_counts_as_sending_until_the_kernel_has_its_whole_reply(
    server: Server, peer: Peer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    server.add(Sent(server.tree, 50, "large", size=1 << 20, parts=file_parts(tmp_path / "file")))
    peer.attach()
    open_file(peer, "large")
    flow = server.connections[0]._outgoing._flow
    assert not flow.sending
    peer.say(Tread(1, 0, 1 << 20))
    until(lambda: flow.sending)
    peer.hear()
    until(lambda: not flow.sending)


def test_a_connection_that_is_ended_while_it_waits_for_its_turn_sends_nothing(
    server: Server, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are closed, and another one may have the number of its descriptor."""
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    server.add(Sent(server.tree, 50, "large", size=1 << 20, parts=file_parts(tmp_path / "file")))
    peer.attach()
    open_file(peer, "large")
    connection = server.connections[0]
    sent: list[int] = []

    def turn(flow: Flow) -> int:
        connection.end("another host needs it")
        return 1 << 20

    def sendfile(out: int, descriptor: int, offset: int, count: int) -> int:
        sent.append(count)
        return count

    monkeypatch.setattr(connection._outgoing._send_turns, "wait", turn)
    monkeypatch.setattr(os, "sendfile", sendfile)
    peer.say(Tread(1, 0, 1 << 20))
    assert server.wait_ended() == "another host needs it"
    assert not sent


def test_bytes_and_files_make_one_reply(server: Server, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"FILE" * 20_000)

    def parts(offset: int, length: int) -> list[bytes | OpenExtent]:
        return [b"a" * 30_000, *file_parts(tmp_path / "file")(2, 60_000), b"z" * 10]

    server.add(Sent(server.tree, 50, "mixed", size=90_010, parts=parts))
    peer.attach()
    open_file(peer, "mixed")
    before = len(open_descriptors())
    peer.say(Tread(1, 0, 1 << 20), Tstat(0))
    assert peer.hear()[1] == Rread(b"a" * 30_000 + (b"FILE" * 20_000)[2:60_002] + b"z" * 10)
    peer.hear()
    assert server.sent == 90_010
    assert len(open_descriptors()) == before


@pytest.mark.parametrize("error", [NotHeld(0, 10), OSError(errno.ENOENT, "No such file or directory")])
def test_content_that_cannot_be_opened_any_more_is_an_error(server: Server, peer: Peer, error: Exception) -> None:
    def parts(offset: int, length: int) -> list[bytes | OpenExtent]:
        raise error

    server.add(Sent(server.tree, 50, "gone", size=10, parts=parts))
    peer.attach()
    open_file(peer, "gone")
    peer.say(Tread(1, 0, 10), Tclunk(1))
    text = "No such file or directory" if isinstance(error, OSError) else str(error)
    assert [peer.hear()[1], peer.hear()[1]] == [Rerror(text), Rclunk()]


def test_a_file_that_becomes_shorter_while_it_is_sent_ends_the_connection(
    server: Server, peer: Peer, tmp_path: Path
) -> None:
    """The length was sent already; anything but the end of the connection would be taken for content."""
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    server.add(Sent(server.tree, 50, "shrinking", size=1 << 20, parts=file_parts(path)))
    peer.attach()
    open_file(peer, "shrinking")
    before = len(open_descriptors())
    peer.say(Tread(1, 0, 1 << 20))
    assert peer.take(11)[4] == 117
    os.truncate(path, 1000)
    assert len(peer.rest()) < 1 << 20
    assert server.wait_ended() == "a file was truncated while it was sent"
    assert len(open_descriptors()) == before - 1  # the connection's own


def test_a_flush_overtakes_replies_that_wait_for_room(server: Server, peer: Peer) -> None:
    server.add(Sent(server.tree, 50, "large", size=1 << 20))
    peer.attach()
    open_file(peer, "large")
    peer.say(*[Tread(1, 0, 500_000)] * 3)
    assert peer.take(11)[4] == 117
    peer.say(Tflush(1), Tflush(2), first_tag=10)
    gevent.sleep(0.01)
    peer.take(500_000)
    assert [peer.hear(), peer.hear()] == [(10, Rflush()), (11, Rflush())]
    peer.say(Tclunk(1), first_tag=1)
    assert peer.hear() == (1, Rclunk())
    assert server.sent == 500_000


def test_a_waiting_read_is_answered_when_there_is_news(server: Server, peer: Peer) -> None:
    peer.attach()
    open_file(peer, "news")
    peer.say(Tread(1, 0, 100), Tread(1, 0, 100), Tstat(0))
    assert peer.hear() == (0, Rread(b"nothing yet"))
    assert peer.hear()[0] == 2
    server.tree.tell(b"news!")
    server.connections[0].retry()
    assert peer.hear() == (1, Rread(b"news!"))


def test_requests_before_a_half_close_are_answered(server: Server, peer: Peer) -> None:
    server.add(Sent(server.tree, 50, "large", size=200_000))
    peer.attach()
    open_file(peer, "large")
    peer.say(Tread(1, 0, 200_000), Tclunk(1))
    peer.sock.shutdown(1)
    assert [peer.hear()[1], peer.hear()[1]] == [Rread(bytes(200_000)), Rclunk()]
    assert peer.rest() == b""
    assert server.wait_ended() is None


def test_a_peer_that_closes_the_connection_is_no_failure(server: Server, peer: Peer) -> None:
    peer.attach()
    open_file(peer, "news")
    peer.say(Tread(1, 0, 100), Tread(1, 0, 100))
    peer.hear()
    peer.close()
    assert server.wait_ended() is None


@pytest.mark.parametrize("asked", [0, 3])
def test_a_reset_connection_leaves_no_open_descriptor(server: Server, peer: Peer, asked: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    server.add(Sent(server.tree, 50, "large", size=1 << 20, parts=file_parts(path)))
    peer.attach()
    open_file(peer, "large")
    before = len(open_descriptors())
    if asked:
        peer.say(*[Tread(1, 0, 1 << 20)] * asked)
        peer.take(11)
    peer.vanish()
    server.wait_ended()
    assert len(open_descriptors()) == before - 2  # both ends


def test_a_peer_that_does_not_read_is_disconnected(server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_SEND_TIMEOUT", 0.05)
    server.add(Sent(server.tree, 50, "large", size=1 << 20))
    peer.attach()
    open_file(peer, "large")
    peer.say(Tread(1, 0, 1 << 20))
    assert server.wait_ended() == "timed out"


def test_a_silent_peer_is_disconnected(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_FID_TIMEOUT", 0.05)
    silent = Peer(server.port)
    assert server.wait_ended() == "timed out"
    silent.close()


def test_a_peer_that_never_sends_a_whole_message_is_disconnected(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FID_TIMEOUT", 0.05)
    slow = Peer(server.port)
    for byte in bytes.fromhex("13000000 64 ffff"):
        slow.sock.sendall(bytes([byte]))
        gevent.sleep(0.001)
    assert server.wait_ended() == "timed out"
    slow.close()


def test_a_peer_that_does_not_attach_is_disconnected(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_FID_TIMEOUT", 0.05)
    hesitant = Peer(server.port)
    hesitant.say(Tversion(8192, "9P2000"))
    hesitant.hear()
    assert server.wait_ended() == "timed out"
    hesitant.close()


def test_a_peer_that_sends_everything_but_tattach_is_disconnected(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it sends meanwhile."""
    monkeypatch.setattr(connection, "_FID_TIMEOUT", 0.1)
    talkative = Peer(server.port)
    with contextlib.suppress(OSError, EOFError):
        while True:
            talkative.say(Tversion(8192, "9P2000"))
            talkative.hear()
            gevent.sleep(0.001)
    assert server.wait_ended() == "timed out"
    talkative.close()


def test_a_peer_that_has_clunked_its_last_fid_is_disconnected(
    server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_FID_TIMEOUT", 0.05)
    peer.attach()
    gevent.sleep(0.1)
    peer.say(Tclunk(0))
    assert peer.hear() == (0, Rclunk())
    assert server.wait_ended() == "timed out"


def test_a_peer_that_never_completes_a_message_is_disconnected(
    server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_MESSAGE_TIMEOUT", 0.1)
    peer.attach()
    gevent.sleep(0.15)
    with contextlib.suppress(OSError):
        for byte in bytes.fromhex("00100000 76 0100") + bytes(4000):
            peer.sock.sendall(bytes([byte]))
            gevent.sleep(0.001)
    assert server.wait_ended() == "timed out"


def test_messages_may_arrive_in_parts_if_each_is_completed_in_time(
    server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_MESSAGE_TIMEOUT", 0.2)
    peer.attach()
    frame = encode(1, Tstat(0), NINEP2000)
    peer.sock.sendall(frame[:5])
    for _ in range(30):  # always in the midst of one
        gevent.sleep(0.01)
        peer.sock.sendall(frame[5:] + frame[:5])
        assert peer.hear()[0] == 1
    assert not server.ended


def test_no_more_files_are_open_to_be_sent_than_the_process_has_room_for(
    server: Server, peer: Peer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    server.add(Sent(server.tree, 50, "large", size=1 << 20, parts=file_parts(tmp_path / "file")))
    peer.attach()
    open_file(peer, "large")
    extents, others = server.sessions[0].limits.extents, Account("10.0.0.1")
    extents.limit = 3
    assert extents.take(others, 3)
    peer.say(Tread(1, 0, 1 << 20))
    assert peer.hear() == (0, Rerror("Too many open files"))
    extents.give_back(others)
    peer.say(Tread(1, 0, 1 << 19))
    until(lambda: extents.used == 3)
    assert peer.hear()[1] == Rread(bytes(1 << 19))
    until(lambda: extents.used == 2)
    peer.say(Tread(1, 0, 1 << 20))
    peer.take(11)
    peer.vanish()
    server.wait_ended()
    assert extents.used == 2


def test_a_peer_with_a_fid_may_be_silent(server: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_FID_TIMEOUT", 0.05)
    peer.attach()
    gevent.sleep(0.1)
    peer.say(Tclunk(0))
    assert peer.hear() == (0, Rclunk())


def test_a_peer_that_sends_and_does_not_read_takes_bounded_memory(server: Server, peer: Peer) -> None:
    server.add(Sent(server.tree, 50, "large", size=1 << 20))
    peer.attach()
    open_file(peer, "large")
    open_file(peer, "log", 2, OWRITE)
    peer.say(Tread(1, 0, 1 << 20))
    writes = [Twrite(2, 0, bytes(50_000))] * 100
    gevent.spawn(peer.say, *writes, first_tag=10)
    session = server.sessions[0]
    until(lambda: session.full)
    # The reply that is being sent, the requests in the queue, and what was received last.
    assert session.limits.memory.used < (1 << 20) + MAX_QUEUED_BYTES + 200_000
    assert not server.tree.log
    # It is only paused: when it reads, everything is carried out.
    peer.hear()
    assert [peer.hear()[0] for _ in writes] == list(range(10, 110))
    assert len(server.tree.log) == 100


def test_a_flush_is_answered_although_many_requests_were_sent_before_it(server: Server, peer: Peer) -> None:
    peer.attach()
    open_file(peer, "news")
    peer.say(Tread(1, 0, 100), Tread(1, 0, 100))
    assert peer.hear() == (0, Rread(b"nothing yet"))
    peer.say(*[Tstat(0)] * 20_000, Tflush(1), first_tag=10)
    replies = [peer.hear() for _ in range(20_001)]
    assert [tag for tag, _ in replies] == list(range(10, 20_011))
    assert replies[-1][1] == Rflush()
    assert server.sessions[0].waiting == 0


def test_replies_that_a_peer_does_not_read_count_as_memory_of_its_host(server: Server, peer: Peer) -> None:
    server.add(Sent(server.tree, 50, "large", size=1 << 20))
    peer.attach()
    open_file(peer, "large")
    memory = server.sessions[0].limits.memory
    before = memory.used
    peer.say(Tread(1, 0, 1 << 20))
    until(lambda: memory.used > before + 900_000)
    peer.hear()
    until(lambda: memory.used == before)
    memory.per_host = before + 500_000
    peer.say(Tread(1, 0, 1 << 20))
    assert server.wait_ended() == "the replies that wait for this host take too much memory"
    peer.rest()


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_content_is_sent_although_the_machine_has_no_room_for_a_packet_at_times(
    server: Server, peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    data = pattern(200_000)
    (tmp_path / "file").write_bytes(data)
    server.add(Sent(server.tree, 50, "large", size=len(data), parts=file_parts(tmp_path / "file")))
    peer.attach()
    open_file(peer, "large")
    sendfile, calls = os.sendfile, 0

    def failing(out: int, source: int, offset: int, count: int) -> int:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise OSError(number, "no room")
        return sendfile(out, source, offset, count)

    monkeypatch.setattr(os, "sendfile", failing)
    monkeypatch.setattr(outgoing, "_PAUSE", 0.001)
    peer.say(Tread(1, 0, len(data)))
    assert peer.hear()[1] == Rread(data)
    assert calls > 1


@pytest.mark.parametrize("state", ["idle", "sending", "reading a message", "many requests"])
def test_a_connection_that_is_ended_has_closed_everything_at_once(
    server: Server, peer: Peer, tmp_path: Path, state: str
) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    server.add(Sent(server.tree, 50, "large", size=1 << 20, parts=file_parts(tmp_path / "file")))
    peer.attach()
    open_file(peer, "large")
    before = len(open_descriptors())
    if state == "sending":
        peer.say(*[Tread(1, 0, 1 << 20)] * 3)
        peer.take(11)
    elif state == "reading a message":
        peer.sock.sendall(encode(1, Tstat(0), NINEP2000)[:9])
    elif state == "many requests":
        peer.say(*[Tread(1, 0, 1 << 20)] * 2000)
        peer.take(11)
    gevent.sleep(0.01)
    server.connections[0].end("another host needs it")
    assert len(open_descriptors()) == before
    assert [handle.clunks for handle in server.tree.handles] == [1]
    assert server.wait_ended() == "another host needs it"
    limits = server.sessions[0].limits
    assert [budget.used for budget in (limits.memory, limits.open_files, limits.extents, limits.waiting)] == [0] * 4
    peer.rest()


def test_an_error_in_a_tree_ends_its_connection_and_no_other(server: Server, peer: Peer, printed: io.StringIO) -> None:
    class Wrong(MemoryFile):
        def open(self, mode: int) -> MemoryHandle:
            raise ZeroDivisionError

    server.add(Wrong(server.tree, 50, "wrong"))
    other = Peer(server.port)
    other.attach()
    peer.attach()
    peer.say(Twalk(0, 1, ("wrong",)), Topen(1, 0))
    peer.rest()
    assert server.wait_ended() == "internal error"
    assert "ZeroDivisionError" in printed.getvalue()
    printed.truncate(0)
    open_file(other, "hello")
    other.close()


@pytest.mark.parametrize(("size", "asked"), [(0, 500), (100, 500), (60_000, 50)])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_fast_reader_does_not_keep_others_waiting(server: Server, size: int, asked: int, in_memory: bool) -> None:
    """A connection that can always send must let others run from time to time."""
    turns = 0
    seen: Counter[int] = Counter()

    class Noting(MemoryHandle):
        def read(self, offset: int, count: int) -> bytes | Content:
            seen[turns] += 1
            return Content(size, bytes(size) if in_memory else self._parts) if size else b""

        def _parts(self) -> list[bytes | OpenExtent]:
            return [bytes(size)]

    class File(MemoryFile):
        def open(self, mode: int) -> MemoryHandle:
            return self._opened(Noting(self))

    def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    server.add(File(server.tree, 50, "file"))
    peer = Peer(server.port)
    peer.attach()
    open_file(peer, "file")
    other = gevent.spawn(count_turns)
    peer.say(*[Tread(1, 0, size)] * asked)
    for _ in range(asked):
        peer.hear()
    other.kill()
    peer.close()
    assert sum(seen.values()) == asked
    assert max(seen.values()) <= (outgoing._YIELD_AFTER + outgoing._BATCH) // (size + outgoing._REPLY_COST) + 1, seen


def test_content_in_memory_goes_out_with_other_replies_and_is_counted(server: Server, peer: Peer) -> None:
    class Handle(MemoryHandle):
        def read(self, offset: int, count: int) -> Content:
            return Content(3, b"abc")

    class File(MemoryFile):
        def open(self, mode: int) -> MemoryHandle:
            return self._opened(Handle(self))

    server.add(File(server.tree, 50, "file"))
    peer.attach()
    open_file(peer, "file")
    peer.say(Tread(1, 0, 3), Tstat(0), Tread(1, 0, 3), Tclunk(1))
    assert [type(peer.hear()[1]) for _ in range(4)] == [Rread, Rstat, Rread, Rclunk]
    assert server.sent == 6


def test_replies_do_not_mix_when_making_one_switches_greenlets(server: Server, peer: Peer) -> None:
    """A worker may have to wait until it could send a message to its master."""

    class Handle(MemoryHandle):
        def read(self, offset: int, count: int) -> Content:
            server.tree.tell(bytes([100 + offset]) * 30_000)
            server.connections[0].retry()
            gevent.sleep(0.001)
            return Content(count, bytes([offset]) * count)

    class File(MemoryFile):
        def open(self, mode: int) -> MemoryHandle:
            return self._opened(Handle(self))

    server.add(File(server.tree, 50, "file"))
    peer.attach()
    open_file(peer, "file")
    open_file(peer, "news", 2)
    peer.say(Tread(2, 0, 30_000))
    peer.hear()
    for offset in range(1, 9):
        peer.say(Tread(2, 0, 30_000), Tread(1, offset, 30_000))
        gevent.sleep(0.005)  # all buffers are full
        heard = dict(peer.hear() for _ in range(2))
        assert heard == {0: Rread(bytes([100 + offset]) * 30_000), 1: Rread(bytes([offset]) * 30_000)}


# Clients that do not speak 9P


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "542393671 bytes"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "759714643 bytes"),
        (bytes.fromhex("00000000"), "0 bytes"),
        (bytes.fromhex("0b000000 78 0000 00000000"), "Tversion must be the first"),
    ],
)
def test_what_is_not_9p_ends_the_connection(server: Server, data: bytes, why: str) -> None:
    peer = Peer(server.port)
    peer.sock.sendall(data)
    assert peer.rest() == b""
    assert why in (server.wait_ended() or "")
    peer.close()


def test_a_client_that_begins_tls_is_told_that_there_is_none(server: Server) -> None:
    peer = Peer(server.port)
    peer.sock.sendall(bytes.fromhex("1603010200010001fc0303"))
    assert peer.rest() == bytes.fromhex("15030300020246")  # the alert protocol_version: RFC 8446, section 6
    assert "it wants TLS" in (server.wait_ended() or "")
    peer.close()


def test_replies_to_what_came_before_a_violation_are_sent(server: Server, peer: Peer) -> None:
    peer.attach()
    peer.say(Tstat(0), Tclunk(0))
    peer.sock.sendall(bytes(7))
    assert [peer.hear()[0], peer.hear()[0]] == [0, 1]
    assert peer.rest() == b""
    assert "0 bytes" in (server.wait_ended() or "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(40))
@given(said=st.lists(st.binary(max_size=100), max_size=5), begun=st.booleans())
def test_any_bytes_leave_the_server_running(server: Server, said: list[bytes], begun: bool) -> None:
    stranger = Peer(server.port)
    try:
        if begun:
            stranger.attach()
        for data in said:
            stranger.sock.sendall(data)
            gevent.sleep(0)
    except OSError:
        pass  # the server has closed the connection
    stranger.close()
    guest = Peer(server.port)
    guest.say(Tversion(8192, "9P2000"))
    assert guest.hear()[1] == Rversion(8192, "9P2000")
    guest.close()
