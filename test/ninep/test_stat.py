"""Directory entries, and reading directories in parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.support.directories import unpack_directory
from test.support.strategies import stats
from xget_lib.errors import Failed, NinepError, ProtocolViolation
from xget_lib.ninep.stat import (
    DMDIR,
    DMSETUID,
    DMSPECIAL,
    DMSYMLINK,
    DONT_TOUCH,
    PLAIN_STAT,
    UNIX_STAT,
    DirectoryReader,
    Stat,
)
from xget_lib.ninep.wire import QTDIR, Qid

ROOT = Stat(
    qid=Qid(QTDIR, 0, 1),
    mode=DMDIR | 0o755,
    atime=0x6B02A29F,
    mtime=0x6B02A29F,
    length=0,
    name="",
    uid="root",
    gid="root",
    muid="root",
)
# What a C xget master answered for its root, without stat[n]'s own count.
RECORDED = bytes.fromhex(
    "3b0000000000000080000000000100000000000000ed0100809fa2026b9fa2026b00000000000000000000"
    "0400726f6f740400726f6f740400726f6f74"
)


def test_an_entry_is_written_as_by_the_c_program() -> None:
    assert Stat.unpack(RECORDED, PLAIN_STAT) == ROOT
    assert ROOT.pack(PLAIN_STAT) == RECORDED


@given(stats)
def test_every_entry_is_the_same_after_packing_and_unpacking(stat: Stat) -> None:
    assert Stat.unpack(stat.pack(PLAIN_STAT), PLAIN_STAT) == stat


@given(st.binary(max_size=100))
def test_any_bytes_are_unpacked_consistently_or_a_violation(data: bytes) -> None:
    for candidate in (data, len(data).to_bytes(2, "little") + data):
        try:
            stat = Stat.unpack(candidate, PLAIN_STAT)
        except ProtocolViolation:
            continue
        assert stat.pack(PLAIN_STAT) == candidate


def test_a_time_before_1970_or_after_2106_becomes_the_nearest() -> None:
    stat = Stat.unpack(replace(ROOT, atime=-1, mtime=2**32).pack(PLAIN_STAT), PLAIN_STAT)
    assert (stat.atime, stat.mtime) == (0, 2**32 - 1)


def test_an_entry_too_long_for_its_count_is_refused() -> None:
    with pytest.raises(NinepError):
        replace(ROOT, name="a" * 65535).pack(PLAIN_STAT)


def test_dont_touch_is_all_ones_and_no_text() -> None:
    assert DONT_TOUCH.pack(PLAIN_STAT) == b"\x2f\x00" + b"\xff" * 39 + bytes(8)


LINK = replace(ROOT, mode=DMSYMLINK | 0o777, name="link", extension="a/b", n_uid=0, n_gid=7, n_muid=0)


def test_an_entry_with_numbers_is_the_same_after_packing_and_unpacking() -> None:
    assert Stat.unpack(LINK.pack(UNIX_STAT), UNIX_STAT) == LINK


def test_files_that_plain_9p_cannot_express_are_not_in_its_directories() -> None:
    program = replace(ROOT, mode=DMSETUID | 0o755, name="program")
    unprintable = replace(ROOT, name="\udcff")
    entries = [LINK, program, unprintable]
    plainly = unpack_directory(DirectoryReader(lambda: entries, PLAIN_STAT).read(0, 1000), PLAIN_STAT)
    assert [(stat.name, stat.mode) for stat in plainly] == [("program", 0o755)]
    with_unix = unpack_directory(DirectoryReader(lambda: entries, UNIX_STAT).read(0, 1000), UNIX_STAT)
    assert with_unix == [LINK, program]


def named(names: list[str]) -> list[Stat]:
    return [replace(ROOT, name=name) for name in names]


plain = stats.map(lambda stat: replace(stat, mode=stat.mode & 0xFF000FFF & ~DMSPECIAL))


@given(st.lists(plain, max_size=20), st.lists(st.integers(300, 2000), min_size=1))
def test_a_directory_has_the_same_entries_however_it_is_read(entries: list[Stat], counts: list[int]) -> None:
    directory = DirectoryReader(lambda: entries, PLAIN_STAT)
    found: list[Stat] = []
    offset = 0
    longest = max((len(entry.pack(PLAIN_STAT)) for entry in entries), default=0)
    for turn in range(len(entries) + 1):
        count = max(counts[turn % len(counts)], longest)
        data = directory.read(offset, count)
        assert len(data) <= count
        if not data:
            break
        found += unpack_directory(data, PLAIN_STAT)  # whole entries, or this raises
        offset += len(data)
    assert found == entries
    assert directory.read(offset, 300) == b""


def test_as_many_entries_as_fit_are_read() -> None:
    entries = named(["a", "b", "c"])
    size = len(entries[0].pack(PLAIN_STAT))
    directory = DirectoryReader(lambda: entries, PLAIN_STAT)
    assert len(directory.read(0, 2 * size)) == 2 * size
    assert len(directory.read(2 * size, 2 * size - 1)) == size


def test_a_client_that_fills_a_buffer_gets_an_empty_reply_when_no_more_fits() -> None:
    """Linux reads a directory of 9P2000 into a buffer until it is full or nothing comes (fs/9p/vfs_dir.c)."""
    entries = named([f"entry{number}" for number in range(100)])
    directory = DirectoryReader(lambda: entries, PLAIN_STAT)
    found: list[Stat] = []
    offset = 0
    while len(found) < len(entries):
        buffer = b""
        while data := directory.read(offset + len(buffer), 1000 - len(buffer)):
            buffer += data
        assert buffer, "no bytes at the beginning of a buffer are the end of the directory"
        found += unpack_directory(buffer, PLAIN_STAT)
        offset += len(buffer)
    assert found == entries


def test_entries_are_asked_for_as_they_are_read() -> None:
    asked = []

    def children() -> Iterator[Stat]:
        for entry in named([str(number) for number in range(1000)]):
            asked.append(entry)
            yield entry

    DirectoryReader(children, PLAIN_STAT).read(0, 300)
    assert len(asked) < 10


def test_an_error_in_the_middle_is_not_the_end_of_the_directory() -> None:
    def children() -> Iterator[Stat]:
        yield from named(["a", "b"])
        raise Failed("disk", "gone")

    size = len(named(["a"])[0].pack(PLAIN_STAT))
    directory = DirectoryReader(children, PLAIN_STAT)
    assert directory.read(0, size)
    with pytest.raises(Failed):
        directory.read(size, 3 * size)
    with pytest.raises(NinepError, match="bad offset"):
        directory.read(size, 3 * size)
    assert directory.read(0, size)


@pytest.mark.parametrize("cut", [1, 10, len(RECORDED) - 1])
def test_half_an_entry_in_a_directory_is_a_violation(cut: int) -> None:
    with pytest.raises(ProtocolViolation):
        unpack_directory(RECORDED + RECORDED[:cut], PLAIN_STAT)
