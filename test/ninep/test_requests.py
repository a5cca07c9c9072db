"""A client's side: with a session, with a server that breaks the rules, and with any bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.conversation import drain, frame_of
from test.support.directories import unpack_directory
from test.support.memory_tree import MemoryTree
from test.support.strategies import messages, requests
from xget_lib.errors import TEXT_LIMIT, NinepError, ProtocolViolation
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.messages import (
    DEFAULT_MSIZE,
    Message,
    Rattach,
    Rclunk,
    Rerror,
    Rflush,
    RMessage,
    Rread,
    Rstat,
    Rversion,
    Rwalk,
    Rwrite,
    Tattach,
    Tclunk,
    Tflush,
    TMessage,
    Topen,
    Tread,
    Tstat,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.requests import Answer, ReadInto, Requests
from xget_lib.ninep.session import Session
from xget_lib.ninep.stat import PLAIN_STAT
from xget_lib.ninep.wire import NOFID, NOTAG, Qid


def put(client: Requests, data: bytes, at_once: int = 1 << 30) -> list[Answer]:
    """Lets `data` arrive, at most `at_once` bytes at a time."""
    answers: list[Answer] = []
    while data:
        view = client.buffer()
        count = min(len(view), len(data), at_once)
        view[:count] = data[:count]
        answers += client.received(count)
        data = data[count:]
    return answers


def reply(tag: int, message: Message) -> bytes:
    return encode(tag, message, NINEP2000)


@pytest.fixture
def client() -> Requests:
    """A client that has agreed on an msize of 8192."""
    client = Requests(8192)
    _, frame = client.submit(Tversion(8192, "9P2000"))
    assert frame == encode(NOTAG, Tversion(8192, "9P2000"), NINEP2000)
    assert put(client, reply(NOTAG, Rversion(8192, "9P2000")))
    return client


def test_the_msize_is_what_the_server_says() -> None:
    client = Requests()
    client.submit(Tversion(DEFAULT_MSIZE, "9P2000"))
    (answer,) = put(client, reply(NOTAG, Rversion(8192, "9P2000")))
    assert answer == Answer(NOTAG, Tversion(DEFAULT_MSIZE, "9P2000"), Rversion(8192, "9P2000"))
    assert (client.msize, client.dialect, len(client._pending)) == (8192, "9P2000", 0)


@pytest.mark.parametrize("answer", [Rversion(0, "unknown"), Rerror("msize too small")])
def test_a_refused_version_is_an_answer(answer: Message) -> None:
    client = Requests(8192)
    client.submit(Tversion(8192, "9P3000"))
    assert [each.reply for each in put(client, reply(NOTAG, answer))] == [answer]
    assert client.msize == 8192


@pytest.mark.parametrize("answer", [Rversion(8193, "9P2000"), Rversion(100, "9P2000"), Rversion(8192, "9P3000")])
def test_a_version_that_was_not_offered_is_a_violation(answer: Rversion) -> None:
    client = Requests(8192)
    client.submit(Tversion(8192, "9P2000"))
    with pytest.raises(ProtocolViolation):
        put(client, reply(NOTAG, answer))


def test_answers_are_matched_to_requests_in_any_order(client: Requests) -> None:
    tags = [client.submit(Tclunk(fid))[0] for fid in range(3)]
    assert len(client._pending) == 3
    answers = put(client, b"".join(reply(tag, Rclunk()) for tag in reversed(tags)))
    assert answers == [Answer(tag, Tclunk(fid), Rclunk()) for fid, tag in reversed(list(enumerate(tags)))]
    assert len(client._pending) == 0


def test_tags_are_used_in_turn(client: Requests) -> None:
    """So a second reply to one request is not taken for a reply to the next."""
    tag, _ = client.submit(Tclunk(1))
    put(client, reply(tag, Rclunk()))
    client.submit(Tclunk(2))
    with pytest.raises(ProtocolViolation, match="unused tag"):
        put(client, reply(tag, Rclunk()))


def test_an_error_is_an_answer(client: Requests) -> None:
    tag, _ = client.submit(Tclunk(1))
    assert put(client, reply(tag, Rerror("no"))) == [Answer(tag, Tclunk(1), Rerror("no"))]


def test_data_goes_into_the_buffer_of_its_request(client: Requests) -> None:
    into = bytearray(b"." * 12)
    tag, _ = client.submit(Tread(1, 0, 10), memoryview(into))
    (answer,) = put(client, reply(tag, Rread(b"hello, 9P")))
    assert answer == Answer(tag, Tread(1, 0, 10), ReadInto(9))
    assert into == b"hello, 9P..."


def test_data_without_a_buffer_is_in_the_answer(client: Requests) -> None:
    tag, _ = client.submit(Tread(1, 0, 10))
    assert put(client, reply(tag, Rread(b"hello"))) == [Answer(tag, Tread(1, 0, 10), Rread(b"hello"))]
    tag, _ = client.submit(Tread(1, 5, 10))
    assert put(client, reply(tag, Rread(b""))) == [Answer(tag, Tread(1, 5, 10), Rread(b""))]


def test_data_is_received_straight_into_its_buffer() -> None:
    client = Requests()
    client.submit(Tversion(client.msize, "9P2000"))
    put(client, reply(NOTAG, Rversion(client.msize, "9P2000")))
    buffer = bytearray(500_000)
    tag, _ = client.submit(Tread(1, 0, 500_000), memoryview(buffer))
    other, _ = client.submit(Tclunk(2))
    frame = reply(tag, Rread(bytes(range(250)) * 2000))
    assert put(client, frame[:1011]) == []
    rest = client.buffer()
    assert rest.obj is buffer
    assert len(rest) == 499_000  # to the end of this reply, and not a byte of the next
    assert [answer.tag for answer in put(client, frame[1011:] + reply(other, Rclunk()))] == [tag, other]
    assert buffer == bytes(range(250)) * 2000


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6), st.integers(1, 400))
def test_answers_are_the_same_however_they_arrive(reads: list[tuple[bytes, bool]], at_once: int) -> None:
    client = Requests()
    buffers = [memoryview(bytearray(300)) if has_buffer else None for _, has_buffer in reads]
    stream = b""
    for (data, _), buffer in zip(reads, buffers, strict=True):
        tag, _ = client.submit(Tread(1, 0, 300), buffer)
        stream += reply(tag, Rread(data))
    got = []
    for answer, buffer in zip(put(client, stream, at_once), buffers, strict=True):
        if isinstance(answer.reply, ReadInto):
            assert buffer is not None
            got.append(bytes(buffer[: answer.reply.count]))
        else:
            assert isinstance(answer.reply, Rread)
            got.append(answer.reply.data)
    assert got == [data for data, _ in reads]


def test_the_longest_reply_without_data_is_understood() -> None:
    client = Requests()
    tag, _ = client.submit(Tstat(1))
    (answer,) = put(client, reply(tag, Rstat(bytes(65535))), at_once=1000)
    assert answer.reply == Rstat(bytes(65535))


# Flush.


def test_a_flushed_read_is_not_answered_and_its_tag_not_used_again_before_the_rflush(client: Requests) -> None:
    tag, _ = client.submit(Tread(1, 0, 10))
    flush_tag, flush = decode(client.flush(tag), NINEP2000)
    assert flush == Tflush(tag)
    assert len(client._pending) == 2
    for _ in range(NOTAG):
        other, _ = client.submit(Tclunk(1))
        assert other != tag
        put(client, reply(other, Rclunk()))
    assert put(client, reply(flush_tag, Rflush())) == [Answer(flush_tag, Tflush(tag), Rflush())]
    assert len(client._pending) == 0


def test_data_that_arrives_before_the_rflush_is_thrown_away(client: Requests) -> None:
    into = bytearray(5000)
    tag, _ = client.submit(Tread(1, 0, 5000), memoryview(into))
    flush_tag = decode(client.flush(tag), NINEP2000)[0]
    late = reply(tag, Rread(b"x" * 5000)) + reply(flush_tag, Rflush())
    assert [answer.tag for answer in put(client, late, at_once=100)] == [flush_tag]
    assert into == bytes(5000)


def test_a_flush_in_the_midst_of_data_leaves_the_rest_of_the_buffer_alone(client: Requests) -> None:
    into = bytearray(5000)
    tag, _ = client.submit(Tread(1, 0, 5000), memoryview(into))
    frame = reply(tag, Rread(b"x" * 5000))
    put(client, frame[: 11 + 1000])
    view = client.buffer()  # a receive into it is under way, and cannot be called back
    flush_tag = decode(client.flush(tag), NINEP2000)[0]
    view[:500] = frame[11 + 1000 : 11 + 1500]
    assert list(client.received(500)) == []
    answers = put(client, frame[11 + 1500 :] + reply(flush_tag, Rflush()))
    assert [answer.tag for answer in answers] == [flush_tag]
    assert into == b"x" * 1500 + bytes(3500)


def test_a_change_that_was_flushed_too_late_is_reported(client: Requests) -> None:
    """flush(5): the client must honor the response as if it had not been flushed."""
    tag, _ = client.submit(Twalk(0, 1, ("hello",)))
    flush_tag = decode(client.flush(tag), NINEP2000)[0]
    walked = Rwalk((Qid(0, 0, 1),))
    answers = put(client, reply(tag, walked) + reply(flush_tag, Rflush()))
    assert [answer.reply for answer in answers] == [walked, Rflush()]
    assert len(client._pending) == 0


@pytest.mark.parametrize("late", [Rread(b"x"), Rerror("late")])
def test_a_reply_after_its_rflush_is_a_violation(client: Requests, late: Message) -> None:
    tag, _ = client.submit(Tread(1, 0, 10))
    put(client, reply(decode(client.flush(tag), NINEP2000)[0], Rflush()))
    with pytest.raises(ProtocolViolation, match="unused tag"):
        put(client, reply(tag, late))


def test_a_flushed_request_is_answered_once(client: Requests) -> None:
    tag, _ = client.submit(Tread(1, 0, 10))
    client.flush(tag)
    assert put(client, reply(tag, Rread(b"x"))) == []
    with pytest.raises(ProtocolViolation, match="unused tag"):
        put(client, reply(tag, Rread(b"x")))


def test_an_answer_can_flush_a_request_whose_reply_arrived_with_it(client: Requests) -> None:
    first, _ = client.submit(Tstat(0))
    into = memoryview(bytearray(b"abcd"))
    second, _ = client.submit(Tread(0, 0, 4), into)
    third, _ = client.submit(Tclunk(1))
    data = reply(first, Rerror("no")) + reply(second, Rread(b"data")) + reply(third, Rclunk())
    client.buffer()[: len(data)] = data
    heard = []
    for answer in client.received(len(data)):
        heard.append(answer.tag)
        if answer.tag == first:
            client.flush(second)
    assert heard == [first, third]
    assert bytes(into) == b"abcd" and client.flushed == 1


def test_what_is_answered_cannot_be_flushed(client: Requests) -> None:
    tag, _ = client.submit(Tclunk(1))
    put(client, reply(tag, Rclunk()))
    with pytest.raises(KeyError):
        client.flush(tag)


# Servers that break the rules.


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Tclunk(1), Rwrite(0)),
        (Tclunk(1), Rread(b"")),
        (Tclunk(1), Tclunk(1)),
        (Tflush(1), Rerror("no")),
        (Tread(1, 0, 10), Rread(bytes(11))),
        (Tread(1, 0, 10), Rclunk()),
        (Twrite(1, 0, b"abc"), Rwrite(4)),
        (Twalk(1, 2, ("a",)), Rwalk((Qid(0, 0, 1), Qid(0, 0, 2)))),
        (Tattach(0, NOFID, "", ""), Rversion(8192, "9P2000")),
    ],
)
def test_an_answer_to_something_else_is_a_violation(client: Requests, request_: TMessage, answer: Message) -> None:
    tag = client.submit(request_)[0] if not isinstance(request_, Tflush) else flush_of_a_read(client)
    with pytest.raises(ProtocolViolation):
        put(client, reply(tag, answer))


def flush_of_a_read(client: Requests) -> int:
    return decode(client.flush(client.submit(Tread(1, 0, 10))[0]), NINEP2000)[0]


def test_a_read_never_fills_more_than_it_asked_for(client: Requests) -> None:
    buffer = bytearray(20)
    tag, _ = client.submit(Tread(1, 0, 10), memoryview(buffer)[:10])
    with pytest.raises(ProtocolViolation, match="for a Tread with count 10"):
        put(client, reply(tag, Rread(b"x" * 20)))
    assert buffer == bytes(20)


@pytest.mark.parametrize(
    "frame",
    [
        "06000000 79 0000",  # shorter than a header
        "01200000 75 0000",  # longer than msize
        "0b000000 75 0000 01000000",  # an Rread that says it has more data than it has
        "0c000000 75 0000 00000000 78",  # and less
        "07000000 79 0900",  # a tag that asked for nothing
        "08000000 79 0000 78",  # a rest
        "07000000 ff 0000",  # no message
    ],
)
def test_bytes_that_are_no_reply_are_a_violation(client: Requests, frame: str) -> None:
    tag, _ = client.submit(Tread(1, 0, 10))
    assert tag == 0
    with pytest.raises(ProtocolViolation):
        put(client, bytes.fromhex(frame))


def test_a_message_longer_than_msize_is_not_sent(client: Requests) -> None:
    with pytest.raises(NinepError):
        client.submit(Twrite(1, 0, bytes(8192 - 23 + 1)))
    client.submit(Twrite(1, 0, bytes(8192 - 23)))
    assert len(client._pending) == 1


def test_there_are_no_more_requests_than_tags(client: Requests) -> None:
    tags = {client.submit(Tclunk(1))[0] for _ in range(NOTAG)}
    assert tags == set(range(NOTAG))
    with pytest.raises(NinepError):
        client.submit(Tclunk(1))
    put(client, reply(77, Rclunk()))
    assert client.submit(Tclunk(1))[0] == 77


@given(
    st.lists(requests.filter(lambda message: not isinstance(message, Tversion)), max_size=8),
    st.lists(st.one_of(st.binary(max_size=60), st.tuples(st.integers(0, 8), messages)), max_size=12),
    st.integers(1, 100),
)
def test_any_bytes_do_no_worse_than_end_the_connection(
    asked: list[TMessage], heard: list[bytes | tuple[int, Message]], at_once: int
) -> None:
    client = Requests()
    for message in asked:
        client.submit(message)
    try:
        for each in heard:
            for answer in put(client, each if isinstance(each, bytes) else reply(*each), at_once):
                assert isinstance(answer.reply, RMessage)
    except ProtocolViolation:
        pass


# Both sides together.


class Wire:
    """A client and a session with `at_once` bytes at a time between them."""

    def __init__(self, tree: MemoryTree, at_once: int) -> None:
        self.client = Requests()
        self.session = Session(tree.attach)
        self.at_once = at_once

    def ask(self, message: TMessage, into: memoryview | None = None) -> RMessage:
        self.session.receive(self.client.submit(message, into)[1])
        (answer,) = put(self.client, b"".join(self.replies()), self.at_once)
        return answer.reply

    def replies(self) -> Iterator[bytes]:
        for each in drain(self.session):
            yield frame_of(each)


@pytest.mark.parametrize("at_once", [1, 11, 4096, 1 << 20])
def test_a_file_is_transferred_whole(at_once: int) -> None:
    tree = MemoryTree()
    wire = Wire(tree, at_once)
    assert wire.ask(Tversion(DEFAULT_MSIZE, "9P2000")) == Rversion(DEFAULT_MSIZE, "9P2000")
    assert wire.ask(Tattach(0, NOFID, "glenda", "")) == Rattach(tree.root.qid)
    wire.ask(Twalk(0, 1, ("image",)))
    wire.ask(Topen(1, 0))
    buffer = memoryview(bytearray(13_000))
    at = 0
    while (got := wire.ask(Tread(1, at, 3000), buffer[at:])) != ReadInto(0):
        assert isinstance(got, ReadInto)
        at += got.count
    assert buffer[:at] == tree.find("image").text
    wire.session.close()


def test_a_directory_is_transferred_whole() -> None:
    tree = MemoryTree()
    wire = Wire(tree, at_once=100)
    wire.ask(Tversion(DEFAULT_MSIZE, "9P2000"))
    wire.ask(Tattach(0, NOFID, "glenda", ""))
    wire.ask(Twalk(0, 1, ("many",)))
    wire.ask(Topen(1, 0))
    data = b""
    while (got := wire.ask(Tread(1, len(data), 500))) != Rread(b""):
        assert isinstance(got, Rread)
        data += got.data
    many = tree.find("many")
    assert many.children is not None
    assert unpack_directory(data, PLAIN_STAT) == [child.stat() for child in many.children]
    wire.session.close()


@pytest.mark.parametrize("ename", ["\x1b]0;x\x07\r\nxget: everything is in place", "x" * 65000, "é\u202e\u2028"])
def test_the_text_of_an_error_is_one_printable_line(ename: str) -> None:
    client = Requests(1 << 17)
    tag, _ = client.submit(Tclunk(1))
    (answer,) = put(client, reply(tag, Rerror(ename)))
    assert isinstance(answer.reply, Rerror)
    assert answer.reply.ename.isprintable() and len(answer.reply.ename) <= TEXT_LIMIT


def test_requests_that_were_flushed_count_until_the_rflush(client: Requests) -> None:
    tag, _ = client.submit(Tclunk(1))
    flush = client.flush(tag)
    assert client.flushed == 1
    put(client, reply(int.from_bytes(flush[5:7], "little"), Rflush()))
    assert (client.flushed, len(client._pending)) == (0, 0)
