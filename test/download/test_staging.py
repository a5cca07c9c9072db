"""The staging directory: one run at a time, what is left in it, and the descriptors of its parts."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.downloads import destination
from test.support.manifests import file as file_of
from test.support.manifests import manifest as manifest_of
from test.support.manifests import root as root_entry
from xget_lib.download.staging import DESCRIPTORS_KEPT, Parts, Staging
from xget_lib.download.workplaces import PARTS, Workplaces
from xget_lib.errors import DestinationRefused
from xget_lib.fs import syscalls
from xget_lib.fs.rooted import Root
from xget_lib.manifest.selection import STAGING


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
    with pytest.raises(DestinationRefused, match="in use by another xget"):
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


def test_what_lasts_in_it_does_not_make_the_next_run_doubt(root: Root, tmp_path: Path) -> None:
    """The serial of a signed generation stays. A note of what was replaced is worth keeping, whatever else is gone."""
    (tmp_path / ".xget").mkdir()
    (tmp_path / ".xget" / "serial").write_bytes(b"")
    staging = Staging(root)
    staging.open()
    assert not staging.resumed
    staging.close()
    assert os.listdir(tmp_path / ".xget") == ["serial"]
    (tmp_path / ".xget" / "replaced").write_bytes(b"1234")
    staging = Staging(root)
    staging.open()
    assert staging.resumed and staging.replaced
    staging.close()
    assert (tmp_path / ".xget" / "replaced").exists()


def test_a_lock_that_is_being_removed_is_not_taken(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the opening of the lock and its locking, the run that had it ends and removes everything."""
    first, second = Staging(root), Staging(root.again())
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


def test_only_its_owner_can_look_into_it(root: Root, tmp_path: Path) -> None:
    (tmp_path / ".xget").mkdir(mode=0o777)
    staging = Staging(root)
    staging.open()
    assert (tmp_path / ".xget").stat().st_mode & 0o777 == 0o700
    staging.close()


@pytest.mark.root
def test_the_staging_directory_of_another_user_is_refused(root: Root, tmp_path: Path) -> None:
    (tmp_path / ".xget").mkdir()
    os.chown(tmp_path / ".xget", 12345, -1)
    with pytest.raises(DestinationRefused, match="belongs to another user"):
        Staging(root).open()


def test_a_file_in_the_place_of_the_staging_directory_is_refused(root: Root, tmp_path: Path) -> None:
    (tmp_path / ".xget").write_bytes(b"mine")
    with pytest.raises(DestinationRefused, match=r"not a directory .remove it: XGet stores temporary data there"):
        Staging(root).open()


def test_parts_are_named_for_their_final_paths() -> None:
    part_path = Workplaces().part_path
    assert part_path(b"a/b") == part_path(b"a/b") != part_path(b"a/c")
    assert len(os.path.basename(part_path(b"x" * 60_000))) == 32


# Its parts, and their descriptors.


@pytest.fixture
def parts(root: Root) -> Iterator[Parts]:
    root.mkdir(STAGING)
    root.mkdir(PARTS)
    with root.directory(PARTS):
        pass  # its own descriptors are open from now on
    files = [file_of(b"%04d" % number, 100 + number) for number in range(3 * DESCRIPTORS_KEPT)]
    parts = Parts(destination(root, manifest_of(root_entry(), *files)))
    yield parts
    parts.close_all()


def test_a_part_has_the_length_of_its_file(parts: Parts, tmp_path: Path) -> None:
    first, second = (tmp_path / os.fsdecode(Workplaces().part_path(b"%04d" % number)) for number in (1, 2))
    second.write_bytes(bytes(1000))
    for file in (1, 2):
        with parts.opened(file) as fd:
            assert os.fstat(fd).st_size == 100 + file
    assert first.stat().st_mode & 0o777 == 0o600


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


# Writing back.


def test_syncing_what_is_not_open_fails(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    syscalls.sync_filesystem(fd)
    syscalls.start_writeback(fd, 0, 1)  # promises nothing
    os.close(fd)
    with pytest.raises(OSError) as caught:
        syscalls.sync_filesystem(fd)
    assert caught.value.errno == errno.EBADF
