"""Other file systems below the destination: a file is put together where its final name is, and nothing stays there."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.downloads import PIECE, Served, fetch, finish, inspect, missing, present, run_download
from test.support.dry_and_real import run_both
from test.support.mounted import Mounts, do
from test.support.processes import PATIENCE
from test.support.trees import differences, noise, write
from xget_lib.download.workplaces import Workplaces
from xget_lib.errors import DestinationRefused
from xget_lib.fs.rooted import Root

pytestmark = pytest.mark.root


@pytest.fixture
def served(tmp_path: Path) -> Served:
    source = tmp_path / "served"
    (source / "boot/deep").mkdir(parents=True)
    write(source / "boot/vmlinuz", noise(3 * PIECE + 5, 1))
    write(source / "boot/deep/initrd", noise(2 * PIECE, 2))
    for number in range(40):  # enough to be written in bulk
        write(source / f"boot/small{number}", b"%d" % number)
    write(source / "top", b"at the top")
    (source / "boot/link").symlink_to("vmlinuz")
    os.mkfifo(source / "boot/fifo")
    os.link(source / "top", source / "boot/top too")
    os.link(source / "boot/vmlinuz", source / "boot/deep/second")
    return Served(source)


def on_tmpfs(mounts: Mounts, dest: Path) -> None:
    mounts.memory(dest / "boot")


def on_itself(mounts: Mounts, dest: Path) -> None:
    """The same device: only the mount is another."""
    (dest.parent / "elsewhere").mkdir()
    mounts.bind(dest.parent / "elsewhere", dest / "boot")


def on_subvolumes(mounts: Mounts, dest: Path) -> None:
    """The same mount: only the device is another."""
    mounts.image(dest, "mkfs.btrfs", "-q", megabytes=128)
    do("btrfs", "subvolume", "create", dest / "boot")
    do("btrfs", "subvolume", "create", dest / "boot/deep")


BORDERS = [on_tmpfs, on_itself, on_subvolumes]


@pytest.mark.parametrize("border", BORDERS)
def test_files_on_another_file_system_are_put_in_place_and_nothing_stays_there(
    served: Served, mounts: Mounts, tmp_path: Path, border: Callable[[Mounts, Path], None]
) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    border(mounts, dest)
    ran = run_both(served, dest)
    assert ran.lines == []
    assert set(differences(served.directory, dest)) <= {"hard links"}
    assert [path for path in dest.rglob("*") if ".xget" in path.parts] == []
    assert run_both(served, dest).steps == []


def test_a_border_that_only_a_rename_shows_is_crossed_with_a_copy(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a project with a quota: device and mount are the same."""

    def within(call: Callable[..., None]) -> Callable[..., None]:
        def refuse(old: bytes, new: bytes, *, src_dir_fd: int, dst_dir_fd: int, **options: bool) -> None:
            directories = [os.readlink(f"/proc/self/fd/{each}") for each in (src_dir_fd, dst_dir_fd)]
            inside = ["/boot" in each for each in directories]
            if inside[0] != inside[1]:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            call(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **options)

        return refuse

    dest = tmp_path / "dest"
    monkeypatch.setattr(os, "rename", within(os.rename))
    monkeypatch.setattr(os, "link", within(os.link))
    ran = run_both(served, dest)
    assert ran.lines == []
    assert differences(served.directory, dest) == ["hard links"]
    assert [path for path in dest.rglob("*") if ".xget" in path.parts] == []


@pytest.mark.parametrize("border", BORDERS)
def test_a_hard_link_across_is_a_copy_and_that_is_noted(
    served: Served, mounts: Mounts, tmp_path: Path, border: Callable[[Mounts, Path], None]
) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    border(mounts, dest)
    ran = run_both(served, dest)
    assert [note for note in ran.notes if "created as copies" in note] == [
        "some hard links were created as copies: Invalid cross-device link"
    ]
    assert (dest / "boot/top too").read_bytes() == b"at the top"
    assert (dest / "boot/top too").stat().st_mtime_ns == (dest / "top").stat().st_mtime_ns


def test_a_copy_of_a_hard_link_that_is_wrong_is_corrected(served: Served, mounts: Mounts, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    on_tmpfs(mounts, dest)
    run_download(served, dest)
    copy = dest / "boot/top too"
    time = copy.stat().st_mtime_ns
    write(copy, b"at the bot", mtime=time)
    assert run_both(served, dest).steps == [], "size and time are right"
    assert [step.path for step in run_both(served, dest, checksum=True).steps] == [b"boot/top too"]
    assert copy.read_bytes() == b"at the top"


def test_two_threads_that_need_it_at_once_make_it_once(
    tmp_path: Path, mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second would take new parts of the first for old ones: remove them, or change their mode."""
    mounts.memory(tmp_path / "boot")
    cleaned, checked = [], threading.Event()

    class Made(set[bytes]):
        def __contains__(self, top: object) -> bool:
            found = super().__contains__(top)
            if threading.current_thread() is not threading.main_thread():
                checked.set()
            return found

    with Root(bytes(tmp_path)) as root:
        workplaces = Workplaces(bytes(tmp_path))
        workplaces.made = Made()
        workplaces.enter(root, b"")
        workplaces.enter(root, b"boot")
        second = threading.Thread(target=workplaces.make_for, args=(root, workplaces.part_path(b"boot/two")))

        def cleaning(root: Root, parts: bytes) -> frozenset[bytes]:
            cleaned.append(parts)
            if len(cleaned) == 1:
                second.start()
                assert checked.wait(PATIENCE)  # it saw that nobody has made it yet
            return frozenset()

        monkeypatch.setattr("xget_lib.download.workplaces.take_over", cleaning)
        workplaces.make_for(root, workplaces.part_path(b"boot/one"))
        second.join(PATIENCE)
    assert len(cleaned) == 1


def test_an_interrupted_run_is_continued_there(served: Served, mounts: Mounts, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    on_tmpfs(mounts, dest)
    file = served.file_named(b"boot/vmlinuz")
    pieces = served.layout.file_pieces(file)
    with served.download(dest) as download:
        inspect(download)
        fetch(download, served, [pieces.start + 1])
    assert list((dest / "boot/.xget").rglob("*"))
    with served.download(dest) as download:
        inspect(download)
        assert pieces.start + 1 in present(download, served.layout)
        fetch(download, served)
        finish(download)
    assert set(differences(served.directory, dest)) <= {"hard links"}
    assert [path for path in dest.rglob("*") if ".xget" in path.parts] == []


def test_the_data_of_a_download_into_that_directory_stay(served: Served, mounts: Mounts, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    on_tmpfs(mounts, dest)
    (tmp_path / "other/deep").mkdir(parents=True)
    write(tmp_path / "other/deep/data", noise(2 * PIECE, 4))
    other = Served(tmp_path / "other")
    with other.download(dest / "boot") as download:
        inspect(download)
        fetch(download, other, [0])
        assert run_both(served, dest, delete=True).lines == []
        assert missing(download, other.layout) == [1]
        fetch(download, other)
        finish(download)
    assert (dest / "boot/deep/data").read_bytes() == (tmp_path / "other/deep/data").read_bytes()


def test_a_read_only_mount_costs_nothing_where_all_is_right_and_its_files_otherwise(
    served: Served, mounts: Mounts, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    on_tmpfs(mounts, dest)
    run_download(served, dest)
    do("mount", "-o", "remount,ro", dest / "boot")
    assert run_both(served, dest).steps == []
    do("mount", "-o", "remount,rw", dest / "boot")
    (dest / "boot/vmlinuz").unlink()
    (dest / "top").unlink()
    do("mount", "-o", "remount,ro", dest / "boot")
    ran = run_both(served, dest)
    assert f"{dest}/boot/vmlinuz: Read-only file system" in ran.lines
    assert (dest / "top").exists()


def test_space_is_counted_on_each_file_system(served: Served, mounts: Mounts, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    mounts.memory(dest / "boot", options="size=256k")
    with served.download(dest) as download:
        inspect(download)
        with pytest.raises(DestinationRefused, match=r"dest/boot: disk full: needs .* has 256 KiB free"):
            download.check_free_space()


@pytest.mark.parametrize(("kind", "options"), [("ramfs", "mode=755"), ("tmpfs", "size=0,mode=755")])
def test_a_file_system_that_counts_no_blocks_is_not_full(
    served: Served, mounts: Mounts, tmp_path: Path, kind: str, options: str
) -> None:
    dest = mounts.memory(tmp_path / "dest", kind, options)
    assert os.statvfs(dest).f_blocks == 0
    assert run_both(served, dest).lines == []
    assert differences(served.directory, dest) == []


def test_of_another_user_it_is_not_used(served: Served, mounts: Mounts, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    on_tmpfs(mounts, dest)
    (dest / "boot/.xget").mkdir()
    os.chown(dest / "boot/.xget", 65534, 65534)
    lines = run_both(served, dest).lines
    assert "belongs to another user (remove it)" in lines[0] and len(lines) == 11
    assert (dest / "top").exists()
