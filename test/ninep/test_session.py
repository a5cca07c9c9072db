"""Conversations with a session: those in test/traces word for word, and others at random."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.conversation import attached, drain, frame_of, replay, say
from test.support.memory_tree import MemoryFile, MemoryTree
from test.support.strategies import requests
from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.dialect import DIALECTS, NINEP2000, decode, encode
from xget_lib.ninep.messages import (
    DEFAULT_MSIZE,
    Rclunk,
    Rerror,
    Rversion,
    Tattach,
    Tclunk,
    Tflush,
    TMessage,
    Topen,
    Tread,
    Tremove,
    Tstat,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.session import Session
from xget_lib.ninep.wire import NOFID

TRACES = Path(__file__).parent.parent / "traces"


@pytest.mark.parametrize("trace", sorted(TRACES.glob("*.txt")), ids=lambda trace: trace.stem)
@pytest.mark.parametrize("at_once", [1, 5, 1 << 20])
def test_a_conversation_goes_as_written_however_its_bytes_arrive(trace: Path, at_once: int) -> None:
    replay(trace, at_once=at_once)


def test_the_msize_offered_by_default_carries_a_mebibyte() -> None:
    (reply,) = say(Session(MemoryTree().attach), Tversion(2**32 - 1, "9P2000"))
    assert reply == Rversion(DEFAULT_MSIZE, "9P2000")
    assert DEFAULT_MSIZE - 24 == 1024 * 1024


def test_content_is_passed_on_without_its_bytes() -> None:
    tree = MemoryTree()
    session = attached(tree)
    say(session, Twalk(0, 1, ("image",)), Topen(1, 0))
    session.receive(encode(1, Tread(1, 100, 50), NINEP2000))
    reply = session.next_reply()
    assert reply is not None
    assert reply.content is not None
    assert reply.content.length == 50
    assert reply.header == bytes.fromhex("3d000000 75 0100 32000000")


def test_a_request_is_not_carried_out_before_its_reply_is_taken() -> None:
    """So a client can make the server use the memory of one reply only."""
    tree = MemoryTree()
    session = attached(tree)
    for tag, name in enumerate(["hello", "image"]):
        session.receive(encode(tag, Twalk(0, 1 + tag, (name,)), NINEP2000))
    assert session.fid_count == 1
    session.next_reply()
    assert session.fid_count == 2


def test_a_name_that_9p_cannot_carry_spoils_one_reply() -> None:
    tree = MemoryTree()
    tree.root = MemoryFile(tree, 1, "\udcff", children=())
    session = attached(tree)
    assert say(session, Tstat(0), Tclunk(0)) == [Rerror("not UTF-8: '\\udcff'"), Rclunk()]


def test_a_reply_longer_than_msize_is_an_error() -> None:
    tree = MemoryTree()
    tree.root = MemoryFile(tree, 1, "long" * 2048, children=())
    assert say(attached(tree), Tstat(0)) == [Rerror("Message too long")]


@pytest.mark.parametrize(
    ("text", "ename"),
    [("a\0b", "a\\0b"), ("\udcff", "\\udcff"), ("é" * 2000, "é" * 512), ("x" + "é" * 2000, "x" + "é" * 511)],
)
def test_any_text_becomes_an_ename(text: str, ename: str) -> None:
    class Complaining(MemoryFile):
        def walk(self, name: str) -> MemoryFile:
            raise OSError(5, text)

    tree = MemoryTree()
    tree.root = Complaining(tree, 1, "/", children=())
    assert say(attached(tree), Twalk(0, 1, ("hello",))) == [Rerror(ename)]


# Random conversations, with few fids, tags and names, so that requests meet.

fids = st.sampled_from([0, 1, 2, 3, NOFID])
names = st.sampled_from(["hello", "image", "news", "log", "secret", "broken", "many", "deep", "er", "leaf", "..", ""])
plausible = st.one_of(
    st.builds(Tattach, fids, st.just(NOFID), st.just("glenda"), st.sampled_from(["", "attic"])),
    st.builds(Twalk, fids, fids, st.lists(names, max_size=3).map(tuple)),
    st.builds(Topen, fids, st.sampled_from([0, 0, 1, 2, 3, 0x10, 0x40])),
    st.builds(Tread, fids, st.sampled_from([0, 0, 5, 67]), st.sampled_from([0, 10, 70, 8192, 2**32 - 1])),
    st.builds(Twrite, fids, st.just(0), st.binary(max_size=5)),
    st.builds(Tclunk, fids),
    st.builds(Tremove, fids),
    st.builds(Tstat, fids),
    st.builds(Tflush, st.integers(0, 8)),
    requests,
)
events = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 8), plausible),
        st.sampled_from(["tell", "drain", "take one"]),
    ),
    max_size=40,
)


@given(events)
def test_every_request_gets_one_reply_unless_it_is_flushed_or_waits(script: list[tuple[int, TMessage] | str]) -> None:
    tree = MemoryTree()
    session = attached(tree, max_fids=3)
    owed: dict[int, TMessage] = {}

    def hear(at_most: int) -> None:
        for _ in range(at_most):
            reply = session.next_reply()
            if reply is None:
                return
            frame = frame_of(reply)
            assert len(frame) <= session.msize
            assert decode(frame, NINEP2000)[0] == reply.tag
            del owed[reply.tag]

    try:
        for number, event in enumerate(script):
            if event == "tell":
                tree.tell(b"news %d" % number)
                session.retry()
            elif isinstance(event, str):
                hear(1 if event == "take one" else 100)
            else:
                tag, message = event
                session.receive(encode(tag, message, NINEP2000))
                if isinstance(message, Tversion):
                    owed.clear()
                if isinstance(message, Tflush) and not isinstance(owed.get(message.oldtag), Tflush | Tversion):
                    owed.pop(message.oldtag, None)
                owed[tag] = message
    except ProtocolViolation as violation:
        # Only a tag that is in use, or a random Tversion with an unknown version, may end the connection.
        assert "already in use" in str(violation) or "Tversion must be" in str(violation)
    hear(100)
    assert len(owed) == session.waiting
    tree.tell(b"the end")
    session.retry()
    hear(100)
    assert not owed
    session.close()
    assert [handle.clunks for handle in tree.handles] == [1] * len(tree.handles)


@given(st.lists(st.one_of(st.binary(max_size=60), plausible.map(lambda message: encode(1, message, NINEP2000)))))
def test_any_bytes_do_no_worse_than_end_the_connection(chunks: list[bytes]) -> None:
    tree = MemoryTree()
    for session in (Session(tree.attach), attached(tree)):
        try:
            for chunk in chunks:
                session.receive(chunk)
                for reply in drain(session):
                    frame_of(reply)
        except ProtocolViolation:
            pass
        session.close()
    assert [handle.clunks for handle in tree.handles] == [1] * len(tree.handles)


@given(st.binary(min_size=1, max_size=30), st.integers(100, 127))
def test_any_bytes_after_a_header_do_no_worse_either(body: bytes, number: int) -> None:
    session = attached(MemoryTree())
    session.receive((7 + len(body)).to_bytes(4, "little") + bytes([number]) + b"\1\0" + body)
    for reply in drain(session):
        frame_of(reply)


NEVER_SENT = {"Rauth", "Rcreate", "Rremove"}
"""Replies that would report a change."""
SENT_OF_FILES_ON_DISK = {"Rreadlink", "Rxattrwalk"}


def test_there_is_a_conversation_with_every_message() -> None:
    traces = "\n".join(trace.read_text() for trace in TRACES.glob("*.txt"))
    for version, dialect in DIALECTS.items():
        for name, _, _ in dialect.by_number.values():
            if name not in NEVER_SENT | SENT_OF_FILES_ON_DISK:
                assert f" {name} " in traces or f" {name}\n" in traces, f"{version}: {name}"
