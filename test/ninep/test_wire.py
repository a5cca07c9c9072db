"""Integers, strings and qids, and the notation of the manual."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from xget_lib.errors import NinepError, ProtocolViolation
from xget_lib.ninep.wire import Layout, Qid


@dataclass
class Sample:
    number: int = 0
    name: str = ""
    qid: Qid | None = None
    data: bytes = b""
    wname: tuple[str, ...] = ()


def packed(synopsis: str, sample: Sample) -> bytes:
    return b"".join(Layout(synopsis).pack(sample))


@pytest.mark.parametrize(
    ("synopsis", "sample", "data"),
    [
        ("number[1]", Sample(number=0x12), "12"),
        ("number[2]", Sample(number=0x1234), "3412"),
        ("number[4]", Sample(number=0x12345678), "78563412"),
        ("number[8]", Sample(number=0x123456789ABCDEF0), "f0debc9a78563412"),
        ("name[s]", Sample(name="é"), "0200c3a9"),
        ("data[n]", Sample(data=b"\0\xff"), "020000ff"),
        ("count[4] data[count]", Sample(data=b"abc"), "03000000616263"),
        ("qid[13]", Sample(qid=Qid(0x80, 2, 3)), "80020000000300000000000000"),
        ("nwname[2] nwname*(wname[s])", Sample(wname=("a", "")), "0200010061 0000"),
        ("number[4] name[s] number[1]", Sample(number=1, name="a"), "01000000 010061 01"),
    ],
)
def test_a_layout_means_what_the_manual_says(synopsis: str, sample: Sample, data: str) -> None:
    layout = Layout(synopsis)
    assert packed(synopsis, sample) == bytes.fromhex(data)
    values = dict(zip(layout.names, layout.unpack(bytes.fromhex(data)), strict=True))
    assert values == {name: getattr(sample, name) for name in layout.names}


def test_unpacking_begins_where_it_is_told() -> None:
    assert tuple(Layout("number[2]").unpack(b"header\x01\x00", 6)) == (1,)
    assert tuple(Layout("name[s]").unpack(b"header\x01\x00a", 6)) == ("a",)


@pytest.mark.parametrize(
    ("synopsis", "data", "why"),
    [
        ("number[4]", "010203", "3 bytes where 4 belong"),
        ("number[4]", "0102030405", "5 bytes where 4 belong"),
        ("name[s]", "", "too short: 2 bytes announced, 0 there"),
        ("name[s]", "05", "too short: 2 bytes announced, 1 there"),
        ("name[s]", "0500 61", "too short: 5 bytes announced, 1 there"),
        ("name[s]", "0100 61 62", "1 bytes left over"),
        ("name[s]", "0100 ff", "a string is not UTF-8"),
        ("name[s]", "0300 eda080", "a string is not UTF-8"),  # a surrogate
        ("name[s]", "0300 610062", "a string contains NUL"),
        ("qid[13]", "800200000003", "too short: 13 bytes announced, 6 there"),
        ("count[4] data[count]", "ffffffff 61", "too short: 4294967295 bytes announced, 1 there"),
        ("nwname[2] nwname*(wname[s])", "1100" + 17 * "0000", "17 elements in a walk, 16 are allowed"),
        ("nwname[2] nwname*(wname[s])", "ffff", "65535 elements in a walk, 16 are allowed"),
        ("nwname[2] nwname*(wname[s])", "0200 0000", "too short: 2 bytes announced, 0 there"),
    ],
)
def test_what_is_malformed_is_said(synopsis: str, data: str, why: str) -> None:
    with pytest.raises(ProtocolViolation) as violation:
        Layout(synopsis).unpack(bytes.fromhex(data))
    assert str(violation.value) == why


@pytest.mark.parametrize(
    ("synopsis", "sample"),
    [
        ("name[s]", Sample(name="\udcff")),  # how Python writes the file name b"\xff"
        ("name[s]", Sample(name="a\0b")),
        ("name[s]", Sample(name="é" * 32768)),
        ("data[n]", Sample(data=bytes(65536))),
        ("nwname[2] nwname*(wname[s])", Sample(wname=17 * ("a",))),
    ],
)
def test_what_9p_cannot_carry_is_refused(synopsis: str, sample: Sample) -> None:
    with pytest.raises(NinepError):
        packed(synopsis, sample)


@pytest.mark.parametrize("synopsis", ["number[3]", "number", "nwname[2] other*(wname[s])", "number[4]; name[s]"])
def test_another_notation_is_refused(synopsis: str) -> None:
    with pytest.raises(ValueError, match="not in the notation"):
        Layout(synopsis)
