"""Messages to bytes and back in each dialect, as the manual and a C client have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.strategies import U16, spoken
from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.dialect import DIALECTS, NINEP2000, decode, encode, negotiate, tag_of
from xget_lib.ninep.linux import REFUSED, Refused
from xget_lib.ninep.messages import (
    Message,
    Rattach,
    Rerror,
    RMessage,
    Ropen,
    Rread,
    Rversion,
    Rwalk,
    Rwrite,
    Tattach,
    Tclunk,
    TMessage,
    Topen,
    Tread,
    Tversion,
    Twalk,
    Twrite,
)
from xget_lib.ninep.wire import NOFID, NOTAG, QTDIR, Qid

# Recorded between a C xget client and its master.
RECORDED: list[tuple[str, int, Message]] = [
    ("1500000064ffff1880000008003950323030302e75", NOTAG, Tversion(32792, "9P2000.u")),
    ("1300000065ffff188000000600395032303030", NOTAG, Rversion(32792, "9P2000")),
    ("1700000068000000000000ffffffff0400726f6f740000", 0, Tattach(0, NOFID, "root", "")),
    ("1400000069000080000000000100000000000000", 0, Rattach(Qid(QTDIR, 0, 1))),
    ("1d0000006e00000000000006000000020004007a65726f040064617461", 0, Twalk(0, 6, ("zero", "data"))),
    (
        "230000006f000002008000000000002000000000000000000000000320000000000000",
        0,
        Rwalk((Qid(QTDIR, 0, 0x2000), Qid(0, 0, 0x2003))),
    ),
    ("170000006b00000e0066696c65206e6f7420666f756e64", 0, Rerror("file not found")),
    ("0c0000007000000800000001", 0, Topen(8, 1)),
    ("180000007100000000000000042000000000000000000000", 0, Ropen(Qid(0, 0, 0x2004), 0)),
    ("20000000760000080000000000000000000000090000003539323735206d6500", 0, Twrite(8, 0, b"59275 me\0")),
    ("0b0000007700001a000000", 0, Rwrite(26)),
    ("170000007400000700000002000000000000007e000000", 0, Tread(7, 2, 126)),
    ("0d000000750000020000006d65", 0, Rread(b"me")),
    ("0b00000078000007000000", 0, Tclunk(7)),
]


@pytest.mark.parametrize(("recorded", "tag", "message"), RECORDED, ids=lambda value: type(value).__name__)
def test_messages_are_encoded_as_by_the_c_program(recorded: str, tag: int, message: Message) -> None:
    assert decode(bytes.fromhex(recorded), NINEP2000) == (tag, message)
    assert encode(tag, message, NINEP2000) == bytes.fromhex(recorded)


@given(U16, spoken)
def test_every_message_is_the_same_after_encoding_and_decoding(tag: int, said: tuple[str, Message]) -> None:
    dialect, message = said
    frame = encode(tag, message, dialect)
    assert decode(frame, dialect) == decode(memoryview(frame), dialect) == (tag, message)
    assert tag_of(frame) == tag


@given(U16, spoken, st.data())
def test_a_truncated_message_is_a_violation(tag: int, said: tuple[str, Message], data: st.DataObject) -> None:
    dialect, message = said
    frame = encode(tag, message, dialect)
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    with pytest.raises(ProtocolViolation):
        decode(cut, dialect)
    if len(cut) >= 7 and not isinstance(message, Refused):  # of which only the fid is read
        with pytest.raises(ProtocolViolation):
            decode(len(cut).to_bytes(4, "little") + cut[4:], dialect)


@given(spoken, st.data())
def test_a_damaged_message_is_decoded_consistently_or_a_violation(
    said: tuple[str, Message], data: st.DataObject
) -> None:
    dialect, message = said
    frame = bytearray(encode(1, message, dialect))
    frame[data.draw(st.integers(4, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        tag, other = decode(frame, dialect)
    except ProtocolViolation:
        return
    assert encode(tag, other, dialect) == frame


@given(st.sampled_from(list(DIALECTS)), st.integers(0, 130), st.binary(max_size=60))
def test_any_bytes_are_decoded_consistently_or_a_violation(dialect: str, number: int, body: bytes) -> None:
    frame = (7 + len(body)).to_bytes(4, "little") + bytes([number]) + b"\1\0" + body
    try:
        tag, message = decode(frame, dialect)
    except ProtocolViolation:
        return
    assert encode(tag, message, dialect) == frame


def test_the_types_of_a_dialect_are_those_of_requests_and_their_replies() -> None:
    for dialect in DIALECTS.values():
        by_number = {kind.number: kind for kind in dialect.kinds if kind is not Refused}
        assert len(by_number) == len(dialect.kinds) - (Refused in dialect.kinds)
        for number, kind in by_number.items():
            assert issubclass(kind, RMessage) == number % 2, kind
            if issubclass(kind, TMessage):
                assert by_number[number + 1].__name__ == f"R{kind.__name__[1:]}"
        if Refused in dialect.kinds:
            assert not REFUSED.keys() & by_number.keys()
            assert not any(number % 2 for number in REFUSED)


@pytest.mark.parametrize(
    ("offered", "dialect"),
    [
        ("9P2000", "9P2000"),
        ("9P2000.u", "9P2000.u"),
        ("9P2000.L", "9P2000.L"),
        ("9P2000.L.x", "9P2000"),
        ("9P2025", "9P2000"),
        ("9P1999", None),
        ("9P", None),
        ("9P2000\n", None),
        ("9P\u0662\u0660\u0660\u0660", None),
        ("9P" + 5000 * "9", None),
        ("", None),
    ],
)
def test_a_version_is_answered_with_the_best_dialect(offered: str, dialect: str | None) -> None:
    assert negotiate(offered, 65536) == dialect


def test_a_c_client_is_answered_as_its_own_server_does() -> None:
    assert negotiate("9P2000.u", 32792) == "9P2000"
    assert negotiate("9P2000.L", 32792) == "9P2000.L"
