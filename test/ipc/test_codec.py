"""Messages between processes: what is packed is unpacked, and what has another type does not get through."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

import msgpack
import pytest

from xget_lib import ipc
from xget_lib.errors import ProtocolViolation
from xget_lib.ipc.codec import LAYOUTS
from xget_lib.ipc.jobs import Hashed, HashPieces, Scanned
from xget_lib.process.channel import pair

MESSAGES = [
    ipc.Ping(),
    ipc.SlotAsked(1, 2, 0.0),
    ipc.Adopt(1, "10.0.0.1", 40000),
    ipc.NodeRegistered(
        1,
        4711,
        bytes(32),
        3,
        True,
        "failed",
        "disk full",
        1500,
        10_000_000_000,
        5,
        -1,
        "n1",
        "ab",
        (("10.0.0.1", 2000, 7),),
        True,
    ),
    ipc.PeersReached(1, (("10.0.0.1", 4711), ("fd00::1", 65535))),
    ipc.Job(5, HashPieces(0, 10)),
    ipc.Done(5, Hashed(bytes(64), (2, 3), b"\xff", 9, (("Permission denied", (4, 5)),))),
    ipc.Done(5, Hashed(b"", (), b"", 0, ())),
]


def carried(packed: Any) -> Any:
    """As it comes out of a channel: arrays are tuples."""
    return msgpack.unpackb(msgpack.packb(packed), use_list=False)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: ipc.Message) -> None:
    assert ipc.unpack(carried(ipc.pack(message))) == message


@pytest.mark.parametrize(
    "packed",
    [
        [],
        ["Nonsense"],
        [1],
        [["Ask"], 1, 2],
        ["Message"],
        ["Ask", 1],
        ["Ask", 1, 2, 3],
        ["Ask", 1, "2"],
        ["Ask", 1, True],
        ["Ask", 1, None],
        ["Ask", 1, 2.0],
        ["Register", 1, 4711, "00" * 32, 3, True],
        ["Register", 1, 4711, b"", 3, 1],
        ["Job", 5],
        ["Job", 5, 6],
        ["Job", 5, []],
        ["Job", 5, ["HashPieces", 0]],
        ["Job", 5, ["Ask", 0, 1]],
        ["Job", 5, ipc.pack(Scanned(1, 2, b"", False, b"", 0))],
        ["Done", 5, ["Hashed", b"", [], b"", 0, [["why", [b"1"]]]]],
        ["Done", 5, ["Hashed", b"", [], b"", 0, [["why"]]]],
        ["Done", 5, ["Hashed", b"", [], b"", 0, [1]]],
        ["Done", 5, ["Hashed", b"", b"", b"", 0, []]],
    ],
)
def test_what_is_no_message_or_has_a_field_of_another_type_is_a_violation(packed: Any) -> None:
    with pytest.raises(ProtocolViolation):
        ipc.unpack(carried(packed))


def test_a_message_comes_with_its_descriptors_and_those_of_the_message_inside() -> None:
    one, other = pair()
    with closing(one), closing(other), open("/dev/null", "rb") as null:
        right: list[tuple[ipc.Message, int]] = [
            (ipc.Ping(), 0),
            (ipc.Serve(b"/srv", b""), 3),
            (ipc.Job(1, HashPieces(0, 1)), 1),
        ]
        for message, count in right:
            one.send(ipc.pack(message), [null.fileno()] * count)
            received = ipc.receive(other)
            assert received is not None
            assert (received[0], len(received[1])) == (message, count)
            for descriptor in received[1]:
                os.close(descriptor)
        before = len(os.listdir("/proc/self/fd"))
        wrong: list[tuple[ipc.Message, int]] = [
            (ipc.Ping(), 1),
            (ipc.Adopt(1, "::1", 1), 0),
            (ipc.Job(1, HashPieces(0, 1)), 2),
        ]
        for message, count in wrong:
            one.send(ipc.pack(message), [null.fileno()] * count)
            with pytest.raises(ProtocolViolation, match="descriptors"):
                ipc.receive(other)
        assert len(os.listdir("/proc/self/fd")) == before
        one.close()
        assert ipc.receive(other) is None


def test_a_package_can_have_messages_of_its_own() -> None:
    try:

        @ipc.message
        class Greeting(ipc.Message):
            text: str

        assert ipc.unpack(carried(ipc.pack(Greeting("hello")))) == Greeting("hello")
    finally:
        LAYOUTS.pop("Greeting", None)


def test_messages_are_frozen_and_keep_their_names_for_match() -> None:
    match ipc.Grant(1, 2, 3):
        case ipc.Grant(connection, slot, chunk):
            assert (connection, slot, chunk) == (1, 2, 3)
    with pytest.raises(AttributeError):
        ipc.SlotAsked(1, 2, 0.0).slot = 3  # type: ignore[misc]
