from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.downloads import Served, fetch, manifest_of, survey
from test.support.manifests import layout as layout_of
from xget_lib.download.free_space import Room, amount
from xget_lib.download.pieces import Ledger
from xget_lib.download.staging import DESCRIPTORS_KEPT, Parts, Staging, part_path
from xget_lib.errors import DestinationRefused
from xget_lib.fs.rooted import Root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with Root(bytes(tmp_path)) as root:
        yield root


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# The directory.


def test_one_run_at_a_time_and_the_next_when_it_is_gone(root: Root, tmp_path: Path) -> None:
    first, second = Staging(root), Staging(root)
    first.open()
    with pytest.raises(DestinationRefused, match="another xget is writing here"):
        second.open()
    first.worth_keeping = True
    first.close()
    second.open()
    assert second.resumed
    second.remove()
    assert os.listdir(tmp_path) == []
    third = Staging(root)
    third.open()
    third.close()
    assert os.listdir(tmp_path) == []  # nothing was worth keeping


def test_a_lock_that_is_being_removed_is_not_taken(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the opening of the lock and its locking, the run that had it ends and removes everything."""
    first, second = Staging(root), Staging(root)
    first.open()
    real = os.open

    def late(path: bytes, *arguments: int, **options: int) -> int:
        descriptor = real(path, *arguments, **options)
        if path == b"lock":
            monkeypatch.undo()
            first.remove()
        return descriptor

    monkeypatch.setattr(os, "open", late)
    second.open()
    assert root.lstat(b".xget/lock")
    third = Staging(root)
    with pytest.raises(DestinationRefused):
        third.open()
    second.close()


def test_only_its_owner_can_look_into_the_workplace(root: Root, tmp_path: Path) -> None:
    (tmp_path / ".xget").mkdir(mode=0o777)
    workplace = Staging(root)
    workplace.open()
    assert (tmp_path / ".xget").stat().st_mode & 0o777 == 0o700
    workplace.close()


def test_parts_are_named_for_where_they_land() -> None:
    assert part_path(b"a/b") == part_path(b"a/b") != part_path(b"a/c")
    assert len(os.path.basename(part_path(b"x" * 60_000))) == 32


# Its parts, and their descriptors.


@pytest.fixture
def parts(root: Root) -> Iterator[Parts]:
    parts = Parts(root, lambda file: b"part%d" % file, lambda file: 100 + file)
    yield parts
    parts.close_all()


def test_a_part_has_the_length_of_its_file(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "part2").write_bytes(bytes(1000))
    for file in (1, 2):
        with parts.opened(file) as fd:
            assert os.fstat(fd).st_size == 100 + file
    assert (tmp_path / "part1").stat().st_mode & 0o777 == 0o600


def test_descriptors_are_bounded_and_never_closed_in_use(parts: Parts) -> None:
    before = descriptors()
    with parts.opened(0) as first:
        os.pwrite(first, b"first", 0)
        for file in range(1, 3 * DESCRIPTORS_KEPT):
            with parts.opened(file):
                pass
        assert descriptors() <= before + DESCRIPTORS_KEPT + 1
        assert os.pread(first, 5, 0) == b"first"
    parts.close_all()
    assert descriptors() == before


def test_threads_share_one_descriptor(parts: Parts) -> None:
    before = descriptors()
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        for _ in range(50):
            with parts.opened(1) as fd:
                os.fstat(fd)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert descriptors() == before + 1


# The ledger.


def test_a_piece_is_claimed_once_until_it_is_released() -> None:
    ledger = Ledger(layout_of([(b"a", 200_000), (b"b", 1), (b"c", 0)]))
    assert ledger.claim(0)
    assert not ledger.claim(0)
    ledger.release(0)
    assert ledger.claim(0)
    assert not ledger.mark(0, [0])
    assert not ledger.claim(0)
    assert (0 in ledger, 1 in ledger) == (True, False)


def test_files_and_chunks_become_whole_with_their_last_piece() -> None:
    layout = layout_of([(b"a", 200_000), (b"b", 1), (b"c", 0)])
    ledger = Ledger(layout)
    assert not ledger.mark(0, [3, 0, 1])
    assert ledger.lacks(0) == 1
    assert ledger.mark(0, [2])
    assert not ledger.mark(0, [2])  # said once
    assert ledger.mark(1, [4])
    assert not ledger.mark(2, [])
    assert all(ledger.chunk_whole(chunk) for chunk in range(layout.chunk_count))
    assert ledger.right().full


# Room.


def test_room_is_counted_in_blocks_and_files(tmp_path: Path) -> None:
    room = Room(4096)
    for size in (1, 4096, 4097, 0):
        room.add(size)
    assert (room.bytes, room.files) == (4 * 4096, 4)
    room.check(bytes(tmp_path), os.statvfs(tmp_path))
    room.add(1 << 60)
    with pytest.raises(DestinationRefused, match=r"disk full: needs 1.049e\+06 TiB"):
        room.check(bytes(tmp_path), os.statvfs(tmp_path))


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 30, "5 GiB"), (3 << 40, "3 TiB")]
)
def test_amounts_are_for_people(size: int, text: str) -> None:
    assert amount(size) == text


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    (tmp_path / "tiny").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "tiny")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    yield tmp_path / "tiny"
    subprocess.run(["umount", str(tmp_path / "tiny")], check=True)


def test_a_disk_that_fills_up_refuses_and_keeps_what_was_written(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/large").write_bytes(os.urandom(2 << 20))
    served = Served(tmp_path / "served")
    with served.partial(tiny / "dest") as partial:
        survey(partial)
        with pytest.raises(DestinationRefused, match="disk full: needs 2 MiB, has 1"):
            partial.check_room()
        with pytest.raises(DestinationRefused, match="large: disk full"):
            fetch(partial, served)
        written = partial.right()
        assert 10 < written.count <= 16
    subprocess.run(["mount", "-o", "remount,size=4m", str(tiny)], check=True)
    with served.partial(tiny / "dest") as partial:
        assert survey(partial) == list(written)
        partial.check_room()
        fetch(partial, served)
        partial.finish_files(partial.take_whole())
        partial.finish()
    assert manifest_of(tiny / "dest").generation == served.manifest.generation
