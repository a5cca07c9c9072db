"""Watching a directory: every change of names, attributes and closed files is reported, wherever directories move."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inotify_simple import Event, INotify, flags

from test.support.cluster import eventually
from test.support.descriptors import open_descriptors
from test.support.mounted import Mounts, do
from test.support.processes import PATIENCE
from xget_lib.errors import CannotWatch
from xget_lib.snapshot import watch
from xget_lib.snapshot.watch import InotifyTree, Seen
from xget_lib.snapshot.write_pauses import WRITING


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "served"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "c").mkdir()
    for path in ("top", "a/file", "a/b/deep"):
        (tree / path).write_bytes(b"content")
    return tree


@pytest.fixture
def watching(tree: Path) -> Iterator[InotifyTree]:
    with_all = InotifyTree(bytes(tree), one_file_system=False)
    try:
        yield with_all
    finally:
        with_all.close()


def exchange(one: Path, other: Path) -> None:
    """renameat2(2) with RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, bytes(one), -100, bytes(other), 2) == 0, os.strerror(ctypes.get_errno())


def changed(watching: InotifyTree) -> bool:
    """Whether something has changed. Events are there when the call that made them returns."""
    return watching.read() is Seen.CHANGED and not watching.outdated


def is_outdated(watching: InotifyTree) -> bool:
    """Whether something has changed, and the directory must be watched anew."""
    return watching.read() is Seen.CHANGED and watching.outdated


def is_watched(watching: InotifyTree, directory: Path) -> bool:
    """Whether a directory is watched under its path: so are new ones in it, and what is written there."""
    new = directory / "new"
    new.mkdir()
    if not changed(watching):
        return False
    (new / "file").write_bytes(b"1")
    return changed(watching)


def test_nothing_has_changed_at_first_nor_by_reading(tree: Path, watching: InotifyTree) -> None:
    assert not changed(watching)
    (tree / "a" / "file").read_bytes()
    os.listdir(tree / "a")
    assert not changed(watching)


def test_it_can_be_waited_for(tree: Path, watching: InotifyTree) -> None:
    poller = select.poll()
    poller.register(watching, select.POLLIN)
    assert not poller.poll(0)
    (tree / "new").mkdir()
    assert poller.poll(PATIENCE * 1000)


def test_each_kind_of_change_is_reported(tree: Path, watching: InotifyTree) -> None:
    def written() -> None:
        (tree / "a" / "file").write_bytes(b"other")

    def truncated() -> None:
        with open(tree / "a" / "file", "r+b") as file:
            file.truncate(1)

    def replaced() -> None:
        (tree / "a" / "temporary").write_bytes(b"new")
        watching.read()
        os.replace(tree / "a" / "temporary", tree / "a" / "file")

    for change in (
        written,
        truncated,
        replaced,
        lambda: os.chmod(tree / "a" / "file", 0o600),
        lambda: os.utime(tree / "a" / "file", ns=(1, 1)),
        lambda: os.symlink("nowhere", tree / "a" / "link"),
        lambda: os.mkfifo(tree / "a" / "fifo"),
        lambda: os.link(tree / "a" / "file", tree / "a" / "second"),
        lambda: os.unlink(tree / "a" / "second"),
        lambda: os.rename(tree / "a" / "file", tree / "a" / "renamed"),
    ):
        watching.read()
        change()
        assert changed(watching), change


def test_a_new_file_is_reported_when_its_writer_closes_it(tree: Path, watching: InotifyTree) -> None:
    with open(tree / "a" / "copied", "wb", buffering=0) as file:
        file.write(b"the first half, ")
        assert not changed(watching)
        file.write(b"and the second")
    assert changed(watching)


def test_changed_attributes_of_a_directory_are_reported(tree: Path, watching: InotifyTree) -> None:
    os.chmod(tree / "a" / "b", 0o700)
    assert changed(watching)
    os.chmod(tree, 0o700)
    assert changed(watching)


def test_a_new_directory_is_watched_with_everything_below_it(tree: Path, watching: InotifyTree) -> None:
    (tree / "c" / "new" / "deep").mkdir(parents=True)
    assert changed(watching)
    assert is_watched(watching, tree / "c" / "new" / "deep")


def test_a_directory_that_came_from_elsewhere_is_watched(tree: Path, tmp_path: Path, watching: InotifyTree) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    os.rename(tmp_path / "outside", tree / "c" / "inside")
    assert changed(watching)
    assert is_watched(watching, tree / "c" / "inside" / "deep")


def test_a_moved_directory_is_watched_under_its_new_path(tree: Path, watching: InotifyTree) -> None:
    os.rename(tree / "a", tree / "c" / "moved")
    assert changed(watching)
    assert is_watched(watching, tree / "c" / "moved" / "b")


def test_a_directory_that_is_moved_twice_at_once_is_watched_under_its_last_path(
    tree: Path, watching: InotifyTree
) -> None:
    os.rename(tree / "a", tree / "d")
    (tree / "d" / "b" / "deep").write_bytes(b"1")
    os.rename(tree / "d", tree / "e")
    (tree / "e" / "b" / "deep").write_bytes(b"2")
    assert changed(watching)
    assert is_watched(watching, tree / "e" / "b")


def test_two_directories_that_change_places_are_both_watched_under_their_new_paths(
    tree: Path, watching: InotifyTree
) -> None:
    shutil.copytree(tree / "a", tree / "a.new")
    watching.read()
    os.rename(tree / "a", tree / "a.old")
    os.rename(tree / "a.new", tree / "a")
    assert changed(watching)
    assert is_watched(watching, tree / "a" / "b")
    assert is_watched(watching, tree / "a.old" / "b")


def test_two_directories_that_change_places_in_one_step_are_both_watched(tree: Path, watching: InotifyTree) -> None:
    (tree / "c" / "b").mkdir()
    assert changed(watching)
    for _ in range(3):
        exchange(tree / "a", tree / "c")
        assert changed(watching)
        assert is_watched(watching, tree / "a" / "b")
        assert is_watched(watching, tree / "c" / "b")
        shutil.rmtree(tree / "a" / "b" / "new")
        shutil.rmtree(tree / "c" / "b" / "new")
        assert changed(watching)


def test_a_rename_whose_events_come_one_by_one_is_understood(
    tree: Path, watching: InotifyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "c" / "b").mkdir()
    assert changed(watching)
    exchange(tree / "a", tree / "c")
    events = INotify.read(watching._inotify, timeout=0)
    for event in events:
        monkeypatch.setattr(INotify, "read", lambda *_, event=event, **__: [event])
        watching.read()
    monkeypatch.undo()
    watching.read()
    assert is_watched(watching, tree / "a" / "b")
    assert is_watched(watching, tree / "c" / "b")


def test_a_directory_that_was_moved_out_is_not_watched(tree: Path, tmp_path: Path, watching: InotifyTree) -> None:
    os.rename(tree / "a", tmp_path / "elsewhere")
    assert changed(watching)
    (tmp_path / "elsewhere" / "b" / "deep").write_bytes(b"1")
    assert not changed(watching)
    os.rename(tmp_path / "elsewhere", tree / "a")
    assert changed(watching)
    assert is_watched(watching, tree / "a" / "b")


def test_a_directory_that_was_moved_out_is_not_taken_for_its_replacement(
    tree: Path, tmp_path: Path, watching: InotifyTree
) -> None:
    shutil.copytree(tree / "a", tmp_path / "next")
    os.rename(tree / "a", tmp_path / "elsewhere")
    os.rename(tmp_path / "next", tree / "a")
    assert changed(watching)
    (tmp_path / "elsewhere" / "b" / "deep").write_bytes(b"1")
    assert not changed(watching)
    assert is_watched(watching, tree / "a" / "b")


def test_a_removed_directory_that_is_made_again_is_watched(tree: Path, watching: InotifyTree) -> None:
    shutil.rmtree(tree / "a")
    assert changed(watching)
    (tree / "a" / "b").mkdir(parents=True)
    assert changed(watching)
    assert is_watched(watching, tree / "a" / "b")


def replace_root(tree: Path) -> None:
    shutil.copytree(tree, tree.parent / "next")
    os.rename(tree, tree.parent / "before")
    os.rename(tree.parent / "next", tree)


def remove_root(tree: Path) -> None:
    shutil.rmtree(tree)


@pytest.mark.parametrize("change", [replace_root, remove_root])
def test_watches_are_outdated_when_the_directory_itself_is_replaced_or_removed(
    tree: Path, watching: InotifyTree, change: Any
) -> None:
    change(tree)
    assert is_outdated(watching)


def test_watches_are_outdated_when_the_link_to_the_directory_leads_elsewhere(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "next")
    (tmp_path / "link").symlink_to("served")
    watching = InotifyTree(bytes(tmp_path / "link"), one_file_system=False)
    try:
        (tree / "a" / "file").write_bytes(b"through the link")
        assert changed(watching)
        (tmp_path / "link.new").symlink_to("next")
        assert not changed(watching)
        os.replace(tmp_path / "link.new", tmp_path / "link")
        assert is_outdated(watching)
    finally:
        watching.close()


def test_a_single_file_is_watched_and_nothing_beside_it(tree: Path) -> None:
    for change in (
        lambda: (tree / "top").write_bytes(b"1"),
        lambda: os.replace(tree / "beside", tree / "top"),
    ):
        watching = InotifyTree(bytes(tree / "top"), one_file_system=False)
        try:
            (tree / "beside").write_bytes(b"1")
            assert not changed(watching)
            change()
            assert is_outdated(watching)
        finally:
            watching.close()


@pytest.mark.parametrize("below", [".", "a"])
def test_the_staging_directory_of_a_download_is_not_watched_at_any_depth(tree: Path, below: str) -> None:
    (tree / below).mkdir(exist_ok=True)
    (tree / below / ".xget").mkdir()
    watching = InotifyTree(bytes(tree), one_file_system=False)
    try:
        (tree / below / ".xget" / "parts").mkdir()
        (tree / below / ".xget" / "parts" / "1").write_bytes(b"part")
        assert not changed(watching)
        shutil.rmtree(tree / below / ".xget")
        (tree / below / ".xget" / "parts").mkdir(parents=True)
        assert not changed(watching)
    finally:
        watching.close()


def test_names_that_are_not_text_are_watched(tree: Path, watching: InotifyTree) -> None:
    os.mkdir(bytes(tree) + b"/\xff\xfe")
    assert changed(watching)
    os.mkdir(bytes(tree) + b"/\xff\xfe/below")
    assert changed(watching)


def test_watches_are_outdated_when_events_were_lost(
    tree: Path, watching: InotifyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(INotify, "read", lambda *_, **__: [Event(-1, flags.Q_OVERFLOW, 0, "")])
    assert is_outdated(watching)


@pytest.mark.parametrize(
    ("refused", "code", "why"),
    [
        ("add_watch", errno.ENOSPC, "max_user_watches"),
        ("add_watch", errno.ENOMEM, "memory"),
        ("__init__", errno.EMFILE, "max_user_instances"),
    ],
)
def test_it_reports_why_the_kernel_refuses_watches(
    tree: Path, monkeypatch: pytest.MonkeyPatch, refused: str, code: int, why: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    before = len(open_descriptors())
    monkeypatch.setattr(INotify, refused, refuse)
    with pytest.raises(CannotWatch, match=why):
        InotifyTree(bytes(tree), one_file_system=False)
    assert len(open_descriptors()) == before


def test_it_reports_that_the_kernel_refuses_to_watch_a_new_directory(
    tree: Path, watching: InotifyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(INotify, "add_watch", refuse)
    (tree / "new").mkdir()
    with pytest.raises(CannotWatch, match="max_user_watches"):
        watching.read()


def test_a_missing_directory_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(CannotWatch, match="No such file"):
        InotifyTree(bytes(tmp_path / "nothing"), one_file_system=False)


def test_a_file_is_being_written_until_nothing_was_written_for_a_while(
    tree: Path, watching: InotifyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: now))
    with open(tree / "a" / "log", "wb", buffering=0) as log:
        assert watching.read() is Seen.WRITING  # the new name
        for _ in range(3):
            log.write(b"line\n")
            assert watching.read() is Seen.WRITING
        poller = select.poll()
        poller.register(watching, select.POLLIN)
        log.write(b"line\n")
        assert not poller.poll(0), "further writes cause no events"
        assert watching.read() is Seen.WRITING, "there may have been some"
        assert watching.wait() == WRITING
        now += WRITING
        assert watching.read() is Seen.WRITING, "there may have been some before"
        assert watching.read() is Seen.NOTHING
        log.write(b"line\n")
        assert watching.read() is Seen.WRITING, "writes are watched again"
        for _ in range(2):
            now += WRITING
            last = watching.read()
        assert last is Seen.CHANGED, "it is over, although nobody closed the file"
        assert (watching.read(), watching.wait()) == (Seen.NOTHING, watch._MOUNTS_EVERY)


def test_a_file_that_is_truncated_by_name_is_reported(tree: Path, watching: InotifyTree) -> None:
    os.truncate(tree / "a" / "file", 1)
    assert watching.read() is Seen.WRITING


@pytest.mark.parametrize("path", ["link", "link/a", "around/link/a", "link/a/file"])
def test_a_link_on_the_way_that_leads_elsewhere_is_noticed(tree: Path, path: str) -> None:
    (tree.parent / "link").symlink_to("served")
    (tree.parent / "around").symlink_to(".")
    watching = InotifyTree(bytes(tree.parent / path), one_file_system=False)
    try:
        assert watching.read() is Seen.NOTHING
        (tree.parent / "next").symlink_to("elsewhere")
        assert not watching.outdated
        (tree.parent / "next").rename(tree.parent / "link")
        assert is_outdated(watching)
    finally:
        watching.close()


def test_links_in_a_circle_cannot_be_watched(tree: Path) -> None:
    (tree.parent / "one").symlink_to("other")
    (tree.parent / "other").symlink_to("one")
    with pytest.raises(CannotWatch, match="Too many levels of symbolic links"):
        InotifyTree(bytes(tree.parent / "one"), one_file_system=False)


def linked_later(directory: Path) -> int:
    """A file that had no name when it was opened."""
    descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY)
    os.link(f"/proc/self/fd/{descriptor}", directory / "made", src_dir_fd=descriptor)  # linkat(2) follows the link
    return descriptor


def linked_and_unlinked(directory: Path) -> int:
    """A file that has lost the name with which it was opened, and has another one."""
    descriptor = os.open(directory / "first", os.O_CREAT | os.O_WRONLY)
    os.link(directory / "first", directory / "made")
    os.unlink(directory / "first")
    return descriptor


@pytest.mark.parametrize("make", [linked_later, linked_and_unlinked])
def test_what_is_written_under_a_name_that_is_gone_is_reported(tree: Path, watching: InotifyTree, make: Any) -> None:
    descriptor = make(tree / "a")
    watching.read()
    os.write(descriptor, b"more")
    assert watching.read() is Seen.WRITING
    os.close(descriptor)
    assert changed(watching)


def test_a_file_that_nobody_closes_is_reported_after_a_while(
    tree: Path, watching: InotifyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: now))
    os.mknod(tree / "a" / "made")
    assert watching.read() is Seen.WRITING
    assert watching.wait() == WRITING
    now += WRITING
    assert watching.read() is Seen.CHANGED


@pytest.fixture
def image(tree: Path) -> Path:
    (tree / "a" / "image").write_bytes(bytes(1 << 20))
    return tree / "a" / "image"


@pytest.mark.root
def test_what_a_loop_device_may_write_counts_as_being_written(image: Path, watching: InotifyTree) -> None:
    device = do("losetup", "--find", "--show", image).strip()
    try:
        watching.read()  # the program that attached it has closed it
        assert watching.read() is Seen.WRITING
    finally:
        do("losetup", "--detach", device)
    seen: list[Seen] = []

    def is_quiet() -> bool:
        seen.append(watching.read())
        return seen[-1] is Seen.NOTHING

    eventually(is_quiet, "it is detached")
    assert seen[-2] is Seen.CHANGED, "it may have written until it was detached"
    device = do("losetup", "--read-only", "--find", "--show", image).strip()
    try:
        assert watching.read() is Seen.NOTHING
    finally:
        do("losetup", "--detach", device)


@pytest.mark.root
@pytest.mark.parametrize("served", [".", "top"])
def test_a_file_that_is_mounted_over_a_file_is_watched(tree: Path, mounts: Mounts, served: str) -> None:
    outside = tree.parent / "outside"
    outside.write_bytes(b"mounted")
    mounts.bind(outside, tree / "top")
    watching = InotifyTree(bytes(tree / served), one_file_system=False)
    try:
        os.truncate(outside, 1)
        assert watching.read() is Seen.WRITING
        outside.write_bytes(b"written by its other path")
        assert changed(watching)
        outside.chmod(0o600)
        assert changed(watching)
    finally:
        watching.close()
