"""Messages as lines of the log."""

from __future__ import annotations

import pytest
from hypothesis import given

from test.support.conversation import attached, say
from test.support.memory_tree import MemoryTree
from test.support.strategies import spoken
from xget_lib.ninep.dialect import NINEP2000, NINEP2000_L, NINEP2000_U, encode
from xget_lib.ninep.linux import Refused, Rreaddir
from xget_lib.ninep.messages import (
    Message,
    Rattach,
    Rerror,
    Rread,
    Rstat,
    Rversion,
    Rwalk,
    Tattach,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.requests import Requests
from xget_lib.ninep.trace import RECEIVED, SENT, frame_line, message_line
from xget_lib.ninep.wire import NOFID, NOTAG, QTDIR, Qid


@pytest.mark.parametrize(
    ("dialect", "tag", "message", "line"),
    [
        (NINEP2000, 7, Tread(3, 0, 65536), "Tread tag 7 fid 3 offset 0 count 65536"),
        (NINEP2000, 7, Rread(b"secret"), "Rread tag 7 count 6"),
        (NINEP2000, 7, Twrite(3, 5, b"secret"), "Twrite tag 7 fid 3 offset 5 count 6"),
        (NINEP2000, NOTAG, Tversion(8192, "9P2000"), "Tversion tag NOTAG msize 8192 version '9P2000'"),
        (NINEP2000, 0, Tattach(0, NOFID, "me", ""), "Tattach tag 0 fid 0 afid NOFID uname 'me' aname ''"),
        (NINEP2000_U, 0, Rerror("no\nway", 5), "Rerror tag 0 ename 'no\\nway' errno 5"),
        (NINEP2000, 0, Twalk(0, 1, ("a b", "..")), "Twalk tag 0 fid 0 newfid 1 wname ['a b' '..']"),
        (NINEP2000, 0, Rwalk((Qid(QTDIR, 2, 3),)), "Rwalk tag 0 wqid [3.2.80]"),
        (NINEP2000, 0, Rattach(Qid(QTDIR, 0, 1)), "Rattach tag 0 qid 1.0.80"),
        (NINEP2000, 0, Rstat(b"12345"), "Rstat tag 0 stat 5 bytes"),
        (NINEP2000_L, 0, Rreaddir(b"12345"), "Rreaddir tag 0 count 5"),
        (NINEP2000_L, 0, Refused(72, 1, b"12345"), "Tmkdir tag 0 fid 1 rest 5 bytes"),
        (NINEP2000_L, 0, Twalk(0, 1, ("\udcff",)), "Twalk tag 0 fid 0 newfid 1 wname ['\\udcff']"),
    ],
)
def test_a_message_is_one_line_without_its_data(dialect: str, tag: int, message: Message, line: str) -> None:
    assert message_line(SENT, tag, message, dialect) == f"-> {line}"
    assert frame_line(RECEIVED, encode(tag, message, dialect), dialect) == f"<- {line}"


@given(spoken)
def test_every_message_is_one_printable_line(said: tuple[str, Message]) -> None:
    dialect, message = said
    line = frame_line(SENT, encode(1, message, dialect), dialect)
    assert line.isprintable()
    assert line == message_line(SENT, 1, message, dialect)


def test_a_malformed_message_is_a_line_too() -> None:
    assert frame_line(RECEIVED, bytes.fromhex("07000000 78 0100"), NINEP2000) == (
        "<- type 120 tag 1: malformed Tclunk: 0 bytes instead of 4"
    )


def test_a_session_traces_what_it_receives() -> None:
    session = attached(MemoryTree())
    lines: list[str] = []
    session.trace = lines.append
    say(session, Twalk(0, 1, ("hello",)))
    assert lines == ["<- Twalk tag 0 fid 0 newfid 1 wname ['hello']"]


def test_a_client_traces_both_ways() -> None:
    client, lines = Requests(8192), list[str]()
    client.trace = lines.append
    for request, reply, into in (
        (Tversion(8192, "9P2000"), Rversion(8192, "9P2000"), None),
        (Tread(1, 0, 10), Rread(b"secret"), memoryview(bytearray(10))),
        (Tread(1, 0, 10), Rread(b"secret"), None),
    ):
        tag, _ = client.submit(request, into)
        frame = encode(tag, reply, NINEP2000)
        client.buffer()[: len(frame)] = frame
        list(client.received(len(frame)))
    read = ["-> Tread tag {0} fid 1 offset 0 count 10", "<- Rread tag {0} count 6"]
    assert lines == [
        "-> Tversion tag NOTAG msize 8192 version '9P2000'",
        "<- Rversion tag NOTAG msize 8192 version '9P2000'",
        *(line.format(tag) for tag in (0, 1) for line in read),
    ]
