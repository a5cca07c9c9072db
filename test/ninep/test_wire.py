"""Integers, strings and qids as bytes, and classes as layouts of them."""

from typing import Any

import pytest

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.wire import (
    Layout,
    Qid,
    Unix,
    data2,
    data4,
    qid13,
    tail,
    text,
    texts,
    u8,
    u16,
    u32,
    u64,
)


def layout_of(kind: object) -> Layout:
    """The layout of one field of this type, called `value`."""
    return Layout({"value": kind.__metadata__[0]})  # type: ignore[attr-defined]


@dataclass
class Sample:
    value: Any


def packed(kind: object, value: object) -> bytes:
    return b"".join(layout_of(kind).pack(Sample(value)))


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        (u8, 0x12, "12"),
        (u16, 0x1234, "3412"),
        (u32, 0x12345678, "78563412"),
        (u64, 0x123456789ABCDEF0, "f0debc9a78563412"),
        (text, "é", "0200c3a9"),
        (data2, b"\0\xff", "020000ff"),
        (data4, b"abc", "03000000616263"),
        (qid13, Qid(0x80, 2, 3), "80020000000300000000000000"),
        (texts, ("a", ""), "0200010061 0000"),
        (tail, b"abc", "616263"),
    ],
)
def test_a_field_means_what_the_manual_says(kind: object, value: object, data: str) -> None:
    assert packed(kind, value) == bytes.fromhex(data)
    assert tuple(layout_of(kind).unpack(bytes.fromhex(data))) == (value,)


@dataclass
class Message:
    kept: int
    number: u32
    name: text
    short: u8
    extra: Unix[u16] = 7


def test_a_class_travels_as_its_annotated_fields_in_order() -> None:
    message = Message(kept=5, number=1, name="a", short=1)
    plain, unix = Layout.of(Message, unix=False), Layout.of(Message, unix=True)
    assert plain.names == ("number", "name", "short")
    assert b"".join(plain.pack(message)) == bytes.fromhex("01000000 010061 01")
    assert b"".join(unix.pack(message)) == bytes.fromhex("01000000 010061 01 0700")
    assert list(unix.unpack(bytes.fromhex("01000000 010061 01 0700"))) == [1, "a", 1, 7]


def test_names_of_linux_are_any_bytes() -> None:
    linux = Layout.of(Message, unix=True, linux=True)
    data = bytes.fromhex("01000000 0100ff 01 0700")
    values = linux.unpack(data)
    assert values[1] == "\udcff"
    assert b"".join(linux.pack(Message(0, *values))) == data


def test_unpacking_starts_at_the_given_offset() -> None:
    assert tuple(layout_of(u16).unpack(b"header\x01\x00", 6)) == (1,)
    assert tuple(layout_of(text).unpack(b"header\x01\x00a", 6)) == ("a",)


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        (u32, "010203", "3 bytes instead of 4"),
        (u32, "0102030405", "5 bytes instead of 4"),
        (text, "", "truncated: 2 bytes announced, 0 present"),
        (text, "05", "truncated: 2 bytes announced, 1 present"),
        (text, "0500 61", "truncated: 5 bytes announced, 1 present"),
        (text, "0100 61 62", "1 extra bytes at the end"),
        (text, "0100 ff", "a string is not UTF-8"),
        (text, "0300 eda080", "a string is not UTF-8"),  # a surrogate
        (text, "0300 610062", "a string contains NUL"),
        (qid13, "800200000003", "truncated: 13 bytes announced, 6 present"),
        (data4, "ffffffff 61", "truncated: 4294967295 bytes announced, 1 present"),
        (texts, "1100" + 17 * "0000", "17 elements in a walk (allowed: 16)"),
        (texts, "ffff", "65535 elements in a walk (allowed: 16)"),
        (texts, "0200 0000", "truncated: 2 bytes announced, 0 present"),
    ],
)
def test_an_error_says_what_is_malformed(kind: object, data: str, why: str) -> None:
    with pytest.raises(ProtocolViolation) as violation:
        layout_of(kind).unpack(bytes.fromhex(data))
    assert str(violation.value) == why


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (text, "\udcff"),  # how Python writes the file name b"\xff"
        (text, "a\0b"),
        (text, "é" * 32768),
        (data2, bytes(65536)),
        (texts, 17 * ("a",)),
    ],
)
def test_what_9p_cannot_carry_is_refused(kind: object, value: object) -> None:
    with pytest.raises(NinepError):
        packed(kind, value)
