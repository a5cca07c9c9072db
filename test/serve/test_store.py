"""What a store holds and serves: ranges of the content stream out of files that have not changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.support import backends as support
from test.support.descriptors import open_descriptors
from test.support.downloads import Served, manifest_of
from test.support.manifests import chunk_range
from test.support.strategies import examples
from xget_lib.errors import NotHeld, StaleGeneration
from xget_lib.fs.rooted import Root
from xget_lib.fs.stamp import no_stamps, put_stamp
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.ninep.file import OpenExtent
from xget_lib.serve.store import OpenedFile, Store
from xget_lib.snapshot.scan import scan

LARGE = 300_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Small files, an empty one, and large ones in directories; some 1 MB."""
    directory = tmp_path_factory.mktemp("served")
    for name, size in (("a", 10), ("b/large", LARGE), ("b/one", 1), ("c", 0), ("d", LARGE), ("e", 70), ("f", 40_000)):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(os.urandom(size))
    return Served(directory)


@pytest.fixture
def own(tmp_path: Path) -> Served:
    """A directory that the test may change."""
    (tmp_path / "served").mkdir()
    for name, size in (("large", LARGE), ("small", 100), ("unrelated", LARGE)):
        (tmp_path / "served" / name).write_bytes(os.urandom(size))
    return Served(tmp_path / "served")


def store_of(served: Served, held: Bitmap | None = None) -> Store:
    found = scan(bytes(served.directory))
    held = Bitmap.filled(served.layout.chunk_count) if held is None else held
    return Store(Root(found.base), served.manifest, held, stamps=found.stamps)


@pytest.fixture
def store(served: Served) -> Iterator[Store]:
    yield store_of(served)


def stream(served: Served) -> bytes:
    return b"".join(served.piece(number) for number in range(served.layout.piece_count))


def descriptors() -> int:
    return len(open_descriptors())


@settings(max_examples=examples(50), deadline=None)
@given(data=st.data())
def test_every_range_is_that_of_the_files_one_after_another(served: Served, data: st.DataObject) -> None:
    store = store_of(served)
    offset = data.draw(st.integers(0, served.layout.size))
    length = data.draw(st.integers(0, served.layout.size - offset))
    assert support.content(store.open_extents(offset, length)) == stream(served)[offset : offset + length]


def test_a_range_of_small_files_takes_no_descriptors(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number:04}").write_bytes(b"%04d" % number)
    served = Served(tmp_path)
    before = descriptors()
    store = store_of(served)
    extents = store.open_extents(0, 8000)
    assert [type(extent) for extent in extents] == [bytes]
    assert support.content(extents) == b"".join(b"%04d" % number for number in range(2000))
    assert descriptors() <= before + 1  # that of the root


def test_a_chunk_that_is_not_held_is_refused_without_opening_a_file(served: Served) -> None:
    held = Bitmap.filled(served.layout.chunk_count)
    store = store_of(served, held)
    offset, length = chunk_range(served.layout, 2)
    held.discard(2)
    for wrong in ((offset, 1), (offset + length - 1, 1), (offset - 1, 2), (0, served.layout.size)):
        with pytest.raises(NotHeld):
            store.check(*wrong)
        with pytest.raises(NotHeld):
            store.open_extents(*wrong)
    store.check(offset - 1, 1)
    store.check(offset + length, 1)


def test_a_range_beyond_the_content_is_not_held(store: Store) -> None:
    for wrong in ((store.layout.size, 1), (0, store.layout.size + 1), (-1, 1), (1 << 70, 1)):
        with pytest.raises(NotHeld):
            store.open_extents(*wrong)
    assert store.open_extents(store.layout.size, 0) == []


def test_holding_and_dropping_are_counted_once_each(served: Served) -> None:
    store = store_of(served, Bitmap(served.layout.chunk_count))
    store.hold(1)
    store.hold(1)
    assert (store.changes, list(store.held)) == (1, [1])
    store.drop(served.layout.piece(served.layout.chunk_pieces(1).start).file)
    assert 1 not in store.held
    assert store.changes == 2


def rewrite(path: Path) -> None:
    status = path.stat()
    path.write_bytes(os.urandom(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # only ctime tells


def replace(path: Path) -> None:
    status = path.stat()
    (path.parent / "new").write_bytes(path.read_bytes())
    os.utime(path.parent / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (path.parent / "new").rename(path)


def link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def truncate(path: Path) -> None:
    os.truncate(path, 10)


@pytest.mark.parametrize("change", [Path.unlink, rewrite, replace, link, fifo, truncate])
@pytest.mark.parametrize("name", ["large", "small"])
def test_a_changed_file_is_stale_and_its_chunks_are_no_longer_held(own: Served, name: str, change: object) -> None:
    assert callable(change)
    store = store_of(own)
    before = descriptors()
    change(own.directory / name)
    file = own.file_named(name.encode())
    with pytest.raises(StaleGeneration, match=name):
        store.open_extents(0, own.layout.size)
    assert descriptors() == before
    chunks = set(own.layout.file_chunks(file))
    assert set(store.held) == set(range(own.layout.chunk_count)) - chunks
    assert store.changes == len(chunks)
    with pytest.raises(NotHeld):
        store.open_extents(*own.layout.file_range(file))
    unrelated = own.layout.file_range(own.file_named(b"unrelated"))
    assert len(support.content(store.open_extents(*unrelated))) == LARGE


def test_a_stamp_can_be_set_anew(own: Served) -> None:
    stamps = scan(bytes(own.directory)).stamps
    store = Store(Root(bytes(own.directory)), own.manifest, Bitmap.filled(own.layout.chunk_count), stamps=stamps)
    replace(own.directory / "small")
    put_stamp(stamps, own.file_named(b"small"), os.stat(own.directory / "small"))
    assert support.content(store.open_extents(0, own.layout.size)) == stream(own)


def test_a_file_that_is_put_in_place_meanwhile_is_found_there(own: Served) -> None:
    wholes = own.file_named(b"large")
    paths = iter([b"part", b"large"])  # asked again when there is no part any more
    store = Store(
        Root(bytes(own.directory)),
        own.manifest,
        Bitmap.filled(own.layout.chunk_count),
        locate=lambda file: next(paths) if file == wholes else own.manifest.file(file).path,
    )
    assert support.content(store.open_extents(*own.layout.file_range(wholes))) == (own.directory / "large").read_bytes()


def test_without_a_stamp_the_size_must_be_right(own: Served) -> None:
    store = Store(Root(bytes(own.directory)), own.manifest, Bitmap.filled(own.layout.chunk_count))
    rewrite(own.directory / "large")
    support.content(store.open_extents(0, own.layout.size))
    truncate(own.directory / "large")
    with pytest.raises(StaleGeneration):
        store.open_extents(0, own.layout.size)


def test_a_file_is_read_where_it_is_when_it_is_read(own: Served) -> None:
    """A download puts it in place while somebody has it open."""
    moved = False
    found = scan(bytes(own.directory))
    full = Bitmap.filled(own.layout.chunk_count)
    stamps = no_stamps(own.layout.file_count)
    store = Store(
        Root(found.base), own.manifest, full, stamps=stamps, locate=lambda file: b"moved" if moved else b"large"
    )
    opened = OpenedFile(lambda: store, own.file_named(b"large"))
    data = (own.directory / "large").read_bytes()
    assert opened.read(10, 100) == data[10:110]
    os.rename(own.directory / "large", own.directory / "moved")
    os.utime(own.directory / "moved", ns=(1, 1))
    moved = True
    put_stamp(stamps, own.file_named(b"large"), os.stat(own.directory / "moved"))
    assert opened.read(20, 100) == data[20:120]
    opened.close()


def test_one_changed_file_does_not_make_its_neighbours_stale(own: Served) -> None:
    store = store_of(own)
    small, large = own.file_named(b"small"), own.file_named(b"large")
    store.check_file(small, 0, 100)
    store.drop(small)
    with pytest.raises(StaleGeneration):
        store.check_file(small, 0, 100)
    store.held.discard(own.layout.file_chunks(large).start)
    store.check_file(large, 0, LARGE)


def test_a_file_of_a_store_that_fills_is_held_by_ranges(own: Served) -> None:
    store = store_of(own, Bitmap(own.layout.chunk_count))
    large = own.file_named(b"large")
    first, *_ = own.layout.file_chunks(large)
    store.hold(first)
    store.check_file(large, 0, 1000)
    with pytest.raises(NotHeld):
        store.check_file(large, LARGE - 10, 10)
    with pytest.raises(NotHeld):
        store.check_file(own.file_named(b"unrelated"), 0, 1)


# Reads, from the check of what is held to the descriptors that are sent.


@pytest.fixture
def reads(tmp_path: Path) -> Store:
    (tmp_path / "large").write_bytes(b"L" * 40_000)
    (tmp_path / "small").write_bytes(b"small")
    return support.served(tmp_path, manifest_of(tmp_path)).store


def test_large_parts_are_descriptors_and_small_ones_bytes(reads: Store) -> None:
    extent, rest = support.parts_of(reads.read(1, 100_000))
    assert isinstance(extent, OpenExtent)
    assert (extent.offset, extent.length, rest) == (1, 39_999, b"small")
    assert os.pread(extent.fd, 3, extent.offset) == b"LLL"
    os.close(extent.fd)


def test_a_file_that_changed_is_reported_and_not_held_any_more(reads: Store, tmp_path: Path) -> None:
    stale: list[bytes] = []
    reads.on_stale = stale.append
    read = reads.read(0, 40_000)
    (tmp_path / "large").write_bytes(b"shorter")
    with pytest.raises(StaleGeneration):
        support.parts_of(read)
    assert stale == [b"large"]
    with pytest.raises(NotHeld):
        reads.read(0, 1)


def test_a_file_that_is_dropped_before_its_reply_is_sent_is_an_error(reads: Store) -> None:
    read = reads.read(0, 40_000)
    reads.drop(0)
    with pytest.raises(NotHeld):
        support.parts_of(read)


def test_a_read_behind_the_end_is_empty(reads: Store) -> None:
    assert reads.read(40_005, 1) == reads.read(2**64 - 1, 2**32 - 1) == b""
