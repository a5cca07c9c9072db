"""Messages and descriptors between real processes and within one."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.descriptors import open_descriptors
from xget_lib.errors import LinkLost, ProtocolViolation
from xget_lib.process.channel import MAX_DESCRIPTORS, MAX_PACKET, Channel, pair


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = pair()
    with closing(one), closing(other):
        yield one, other


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Channel]]:
    """A channel and the bare socket at its other end, for what a Channel never sends."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, closing(Channel(other)) as channel:
        yield one, channel


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    one.send(("spawn", 3))
    one.send(["news", {"held": b"\xff\x00"}, [1, 2], None, 1.5, "naïve"])
    assert other.receive() == (("spawn", 3), [])
    assert other.receive() == (("news", {"held": b"\xff\x00"}, (1, 2), None, 1.5, "naïve"), [])


def test_a_message_as_large_as_a_packet_passes_and_one_byte_more_does_not(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    overhead = len(msgpack.packb(("x", bytes(60_000)))) - 60_000
    one.send(("x", bytes(MAX_PACKET - overhead)))
    received = other.receive()
    assert received is not None
    assert len(received[0][1]) == MAX_PACKET - overhead
    with pytest.raises(ValueError, match="the packet limit of 65536"):
        one.send(("x", bytes(MAX_PACKET - overhead + 1)))


def test_a_passed_socket_works_at_the_receiver_and_is_closed_on_exec(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            one.send(("connection",), [theirs.fileno()])
        received = other.receive()
        assert received is not None
        message, fds = received
        assert message == ("connection",)
        assert len(fds) == 1
        assert fcntl.fcntl(fds[0], fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with socket.socket(fileno=fds[0]) as passed:
            passed.sendall(b"hello")
            assert ours.recv(16) == b"hello"


def test_as_many_descriptors_as_the_kernel_allows_pass_at_once(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    with open("/dev/null", "rb") as null:
        one.send(("many",), [null.fileno()] * MAX_DESCRIPTORS)
    received = other.receive()
    assert received is not None
    assert len(received[1]) == MAX_DESCRIPTORS
    for fd in received[1]:
        os.close(fd)


def test_a_closed_end_is_none_at_the_other_and_lost_to_a_sender(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    one.send(("last",))
    one.close()
    assert other.receive() == (("last",), [])
    assert other.receive() is None
    assert other.receive() is None
    with pytest.raises(LinkLost):
        other.send(("hello",))


def test_what_was_sent_before_an_end_with_unread_packets_still_arrives(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    other.send(("never read",))
    one.send(("first",))
    one.send(("second",))
    one.close()
    assert [other.receive(), other.receive(), other.receive()] == [(("first",), []), (("second",), []), None]


def test_receive_waits_for_another_process(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    child = os.fork()
    if child == 0:
        received = other.receive()
        other.send(("got", received[0][1] if received else None))
        os._exit(0)
    other.close()
    one.send(("question", 42))
    assert one.receive() == (("got", 42), [])
    assert one.receive() is None
    os.waitpid(child, 0)


def test_the_given_functions_do_the_waiting() -> None:
    """As gevent's do: whoever waits lets the other side go on meanwhile."""
    waited = []
    one, other = pair()

    def speak(sock: socket.socket) -> None:
        waited.append("read")
        one.send(("late",))

    def drain(sock: socket.socket) -> None:
        waited.append("write")
        other.receive()

    other.wait_readable = speak
    one.wait_writable = drain
    with closing(one), closing(other):
        assert other.receive() == (("late",), [])
        while "write" not in waited:
            one.send(("much", bytes(60_000)))
    assert waited[0] == "read"


@pytest.mark.parametrize(
    "packet",
    [
        b"\xc1",  # never used in msgpack
        b"\x92\xa1a",  # ends too early
        b"\x91\xa1a\x00",  # goes on too long
        b"\x90",  # no name
        b"\x91\x01",  # a name that is a number
        b"\x80",  # a map
        b"\x91\xa1\xff",  # a name that is not UTF-8
        b"\xdd\xff\xff\xff\xff",  # four thousand million items
        b"\x91" * 5000,  # nested deep
        msgpack.packb(("x", bytes(MAX_PACKET))),  # cut off by the kernel
    ],
)
def test_a_packet_that_is_no_message_is_a_violation_and_its_descriptors_are_closed(
    raw: tuple[socket.socket, Channel], packet: bytes
) -> None:
    sock, channel = raw
    before = open_descriptors()
    socket.send_fds(sock, [packet], [0, 0, 0])
    sock.send(msgpack.packb(("next",)))
    with pytest.raises(ProtocolViolation):
        channel.receive()
    assert open_descriptors() == before
    assert channel.receive() == (("next",), [])


def test_descriptors_that_this_process_has_no_room_for_are_a_violation(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    before = open_descriptors()
    socket.send_fds(sock, [msgpack.packb(("many",))], [0] * 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 20, hard))
    try:
        with pytest.raises(ProtocolViolation, match="too many open files"):
            channel.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_descriptors() == before


@given(st.binary(min_size=1, max_size=200))
def test_arbitrary_packets_are_messages_or_violations(packet: bytes) -> None:
    sock, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with sock, closing(Channel(other)) as channel:
        sock.send(packet)
        try:
            received = channel.receive()
        except ProtocolViolation:
            return
        assert received is not None
        assert isinstance(received[0][0], str)
