"""Bytes to frames, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.strategies import messages
from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.framer import Framer
from xget_lib.ninep.messages import Message, Tclunk, Twrite


def frames(framer: Framer, data: bytes) -> list[bytes]:
    framer.feed(data)
    found = []
    while (frame := framer.next_frame()) is not None:
        found.append(bytes(frame))
    return found


@given(st.lists(messages, max_size=6), st.lists(st.integers(1, 40)))
def test_frames_do_not_depend_on_how_the_bytes_arrive(sent: list[Message], cuts: list[int]) -> None:
    expected = [encode(1, message, NINEP2000) for message in sent]
    stream = b"".join(expected)
    framer = Framer(65536)
    found = []
    for cut in [*cuts, len(stream)]:
        found += frames(framer, stream[:cut])
        stream = stream[cut:]
    found += frames(framer, stream)
    assert found == expected


def test_two_frames_cut_at_every_place() -> None:
    stream = encode(1, Tclunk(1), NINEP2000) + encode(2, Tclunk(2), NINEP2000)
    for cut in range(len(stream) + 1):
        framer = Framer(100)
        assert b"".join(frames(framer, stream[:cut]) + frames(framer, stream[cut:])) == stream


@pytest.mark.parametrize("size", [0, 6, 101, 0xFFFFFFFF])
def test_an_impossible_size_is_detected_before_the_rest_arrives(size: int) -> None:
    data = size.to_bytes(4, "little")
    with pytest.raises(ProtocolViolation):
        frames(Framer(100), data)
    framer = Framer(100)
    frames(framer, data[:3])
    with pytest.raises(ProtocolViolation):
        frames(framer, data[3:])


def test_sizes_from_a_header_to_msize_are_possible() -> None:
    for size in (7, 100):
        frame = size.to_bytes(4, "little").ljust(size, b"x")
        assert frames(Framer(100), frame) == [frame]


def test_a_new_msize_applies_from_the_next_frame_on() -> None:
    large = (50).to_bytes(4, "little").ljust(50, b"x")
    framer = Framer(20)
    framer.feed(encode(1, Tclunk(1), NINEP2000) + large)
    assert framer.next_frame() is not None
    framer.msize = 50
    assert framer.next_frame() == large


def test_a_frame_that_arrived_whole_is_not_copied() -> None:
    data = bytearray(encode(1, Tclunk(1), NINEP2000))
    framer = Framer(100)
    framer.feed(data)
    frame = framer.next_frame()
    assert isinstance(frame, memoryview)
    assert frame.obj is data


@given(st.integers(31, 200), st.lists(st.integers(1, 40)))
def test_of_a_frame_that_is_too_long_only_the_header_is_kept(size: int, cuts: list[int]) -> None:
    frame = size.to_bytes(4, "little") + b"\x76\x07\x00" + bytes(size - 7)
    short = encode(1, Tclunk(1), NINEP2000)
    stream = short + frame + short
    framer = Framer(65536, longest=30)
    found = []
    for cut in [*cuts, len(stream)]:
        found += frames(framer, stream[:cut])
        assert framer.kept <= 30
        stream = stream[cut:]
    assert found == [short, frame[:7], short]
    assert not framer.has_partial and not framer.unread


def test_the_longest_frame_may_change_while_one_is_dropped() -> None:
    """What was begun is dropped to its end; the next one is whole."""
    framer, long = Framer(65536, longest=30), encode(1, Twrite(1, 0, bytes(range(100))), NINEP2000)
    assert frames(framer, long[:50]) == []
    framer.longest = 65536
    assert frames(framer, long[50:] + long) == [long[:7], long]


def test_the_longest_frame_may_change_when_only_a_header_has_arrived() -> None:
    framer, long = Framer(65536, longest=65536), encode(1, Twrite(1, 0, bytes(range(100))), NINEP2000)
    assert frames(framer, long[:7]) == []
    assert frames(framer, long[7:]) == [long]
