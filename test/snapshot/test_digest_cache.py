"""The digest cache: unchanged files need no hashing, all others do, and a file on disk is checked."""

from __future__ import annotations

import os
import random
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xget_lib.errors import Failed
from xget_lib.fs.stamp import CTIME_WORD, MTIME_WORD, STAMP_WORDS
from xget_lib.manifest.layout import Layout
from xget_lib.manifest.manifest import DIGEST_SIZE
from xget_lib.snapshot import digest_cache
from xget_lib.snapshot.digest_cache import EMPTY, DigestCache
from xget_lib.snapshot.scan import scan

LATER = 1000  # ns; files that were changed before this are settled


def stamps_of(files: list[int], changed: int = 1) -> array[int]:
    """Stamps of files that are told apart by their inode numbers."""
    return array("q", (word for file in files for word in (0, changed, changed, file, 7)))


def firsts(counts: list[int]) -> list[int]:
    return [sum(counts[:file]) for file in range(len(counts) + 1)]


def digest(file: int, piece: int) -> bytes:
    return bytes([file, piece]) * (DIGEST_SIZE // 2)


def digests_of(files: list[int], counts: list[int]) -> bytes:
    return b"".join(digest(f, p) for f, count in zip(files, counts, strict=True) for p in range(count))


def to_hash(runs: array[int]) -> list[int]:
    return [piece for first, end in zip(runs[::2], runs[1::2], strict=True) for piece in range(first, end)]


def count_of(file: int) -> int:
    return file % 4


@given(
    st.lists(st.integers(0, 30), unique=True),
    st.lists(st.integers(0, 30), unique=True),
    st.sets(st.integers(0, 30)),
    st.sets(st.integers(0, 30)),
    st.booleans(),
)
def test_exactly_what_was_seen_settled_and_is_the_same_is_known(
    before: list[int], now: list[int], recent: set[int], without: set[int], through_bytes: bool
) -> None:
    counts = [count_of(file) for file in before]
    stamps = array("q")
    for file in before:
        stamps.extend(stamps_of([file], changed=LATER if file in recent else LATER - 1))
    made = DigestCache.build(
        stamps,
        firsts(counts),
        digests_of(before, counts),
        settled=LATER,
        without=[number for number, file in enumerate(before) if file in without],
    )
    if through_bytes:
        made = DigestCache.decode(made.encode())
    found = array("q")
    for file in now:
        found.extend(stamps_of([file], changed=LATER if file in recent else LATER - 1))
    counts = [count_of(file) for file in now]
    filled, runs = made.look_up(found, firsts(counts))
    known = (set(before) & set(now)) - recent - without
    expected = b"".join(
        digest(file, piece) if file in known else bytes(DIGEST_SIZE) for file in now for piece in range(count_of(file))
    )
    assert filled == expected
    unknown = [file for file in now if file not in known]
    pieces = {file: range(*firsts(counts)[number : number + 2]) for number, file in enumerate(now)}
    assert to_hash(runs) == [piece for file in unknown for piece in pieces[file]]


@pytest.mark.parametrize("word", range(STAMP_WORDS))
def test_a_file_of_which_any_number_is_another_is_not_known(word: int) -> None:
    stamps = stamps_of([1, 2])
    made = DigestCache.build(stamps, [0, 1, 2], digests_of([1, 2], [1, 1]), settled=LATER)
    stamps[STAMP_WORDS + word] += 1
    assert to_hash(made.look_up(stamps, [0, 1, 2])[1]) == [1]


@pytest.mark.parametrize("word", [MTIME_WORD, CTIME_WORD])
def test_a_file_that_changed_just_before_it_was_hashed_is_not_kept(word: int) -> None:
    """A later write may have come in the same tick, and shows nowhere but in the content."""
    stamps = stamps_of([1, 2])
    stamps[word] = LATER
    made = DigestCache.build(stamps, [0, 1, 2], digests_of([1, 2], [1, 1]), settled=LATER)
    assert to_hash(made.look_up(stamps, [0, 1, 2])[1]) == [0]


def test_a_file_that_is_cut_in_another_way_is_not_known() -> None:
    made = DigestCache.build(stamps_of([1, 2]), [0, 2, 4], digests_of([1, 2], [2, 2]), settled=LATER)
    assert to_hash(made.look_up(stamps_of([1, 2]), [0, 2, 3])[1]) == [2]


def test_stamps_of_real_files_are_known_again_and_those_of_changed_ones_are_not(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode())
    found = scan(bytes(tmp_path))
    layout: Layout = found.layout
    made = DigestCache.build(found.stamps, layout.first_pieces, digests_of([1, 2, 3], [1, 1, 1]), settled=1 << 62)
    (tmp_path / "b").write_bytes(b"B")
    os.rename(tmp_path / "c", tmp_path / "z")  # another change time: no more than a rename, but who knows
    again = scan(bytes(tmp_path))
    assert to_hash(made.look_up(again.stamps, again.layout.first_pieces)[1]) == [1, 2]


def test_files_that_are_distrusted_are_not_known_and_all_others_are() -> None:
    stamps, counts = stamps_of([1, 2, 3, 4]), [2, 1, 0, 2]
    made = DigestCache.build(stamps, firsts(counts), digests_of([1, 2, 3, 4], counts), settled=LATER)
    filled, runs = made.without(stamps, [1, 2]).look_up(stamps, firsts(counts))
    assert to_hash(runs) == [2]
    assert filled == digests_of([1], [2]) + bytes(DIGEST_SIZE) + digests_of([4], [2])
    assert made.without(stamps, range(4)).look_up(stamps, firsts(counts))[0] == bytes(5 * DIGEST_SIZE)
    assert made.without(stamps, []).encode() == made.encode()


def test_an_empty_cache_knows_nothing() -> None:
    assert EMPTY.look_up(stamps_of([1]), [0, 3]) == (bytearray(3 * DIGEST_SIZE), array("Q", [0, 3]))
    assert EMPTY.look_up(array("q"), [0]) == (bytearray(), array("Q"))


# On disk.


@pytest.fixture
def example() -> DigestCache:
    return DigestCache.build(stamps_of([1, 2, 3]), [0, 1, 3, 6], digests_of([1, 2, 3], [1, 2, 3]), settled=LATER)


def known(made: DigestCache | None) -> bool:
    assert made is not None
    return not made.look_up(stamps_of([1, 2, 3]), [0, 1, 3, 6])[1]


def test_what_is_saved_comes_back_and_is_for_nobody_else(example: DigestCache, tmp_path: Path) -> None:
    path = bytes(tmp_path / "new" / "cache" / "name")
    assert digest_cache.load(path) is None
    digest_cache.save(path, example.encode())
    assert known(digest_cache.load(path))
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    assert os.listdir(os.path.dirname(path)) == [b"name"]


def test_the_same_is_not_written_again_and_another_takes_its_place(example: DigestCache, tmp_path: Path) -> None:
    path = bytes(tmp_path / "name")
    digest_cache.save(path, example.encode())
    before = os.stat(path).st_ino
    digest_cache.save(path, example.encode())
    assert os.stat(path).st_ino == before
    digest_cache.save(path, EMPTY.encode())
    assert not known(digest_cache.load(path))


def damaged(encoded: bytes) -> Iterator[bytes]:
    source = random.Random(1)
    for end in (0, 1, 7, 31, 63, 100, len(encoded) - 1):
        yield encoded[:end]
    yield encoded + b"\0"
    for _ in range(200):
        position = source.randrange(len(encoded))
        yield encoded[:position] + bytes([encoded[position] ^ 1 << source.randrange(8)]) + encoded[position + 1 :]
    for number in (1 << 63, (1 << 64) - 1):  # of files, of pieces
        yield encoded[:16] + number.to_bytes(8, "little") + encoded[24:]
        yield encoded[:24] + number.to_bytes(8, "little") + encoded[32:]


def test_what_is_damaged_anywhere_is_refused_in_one_line(example: DigestCache, tmp_path: Path) -> None:
    path = tmp_path / "name"
    for data in damaged(example.encode()):
        path.write_bytes(data)
        with pytest.raises(Failed, match=str(path)) as caught:
            digest_cache.load(bytes(path))
        assert "\n" not in str(caught.value)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [link, fifo, directory])
def test_what_is_no_file_of_ours_is_refused(
    example: DigestCache, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "name"
    digest_cache.save(bytes(path), example.encode())
    change(path)
    with pytest.raises(Failed, match=str(path)):
        digest_cache.load(bytes(path))


@pytest.mark.root
def test_a_file_of_another_user_is_refused(example: DigestCache, tmp_path: Path) -> None:
    path = tmp_path / "name"
    digest_cache.save(bytes(path), example.encode())
    os.chown(path, 12345, 12345)
    with pytest.raises(Failed, match="belongs to another user, or is not a regular file"):
        digest_cache.load(bytes(path))
