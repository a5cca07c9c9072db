"""What is noticed of a directory: every change of names, attributes and closed files, wherever directories move."""

from __future__ import annotations

import errno
import os
import select
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inotify_simple import Event, INotify, flags

from test.support.processes import PATIENCE
from xget_lib.errors import CannotWatch
from xget_lib.snapshot.watch import EVERYTHING, Changes, InotifyTree


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


def noticed(watching: InotifyTree) -> Changes:
    """What has happened. Events are there when the call that made them returns."""
    return watching.read()


def changed(*directories: bytes, trees: tuple[bytes, ...] = ()) -> Changes:
    return Changes(frozenset(directories), frozenset(trees))


def test_nothing_has_changed_at_first_and_by_looking(tree: Path, watching: InotifyTree) -> None:
    assert not noticed(watching)
    (tree / "a" / "file").read_bytes()
    os.listdir(tree / "a")
    assert not noticed(watching)


def test_it_can_be_waited_for(tree: Path, watching: InotifyTree) -> None:
    poller = select.poll()
    poller.register(watching, select.POLLIN)
    assert not poller.poll(0)
    (tree / "new").mkdir()
    assert poller.poll(PATIENCE * 1000)


def test_each_kind_of_change_is_noticed(tree: Path, watching: InotifyTree) -> None:
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
        assert noticed(watching) == changed(b"a"), change


def test_a_file_is_noticed_when_it_is_complete(tree: Path, watching: InotifyTree) -> None:
    with open(tree / "a" / "copied", "wb", buffering=0) as file:
        file.write(b"the first half, ")
        assert not noticed(watching)
        file.write(b"and the second")
    assert noticed(watching) == changed(b"a")


def test_attributes_of_a_directory_are_noticed(tree: Path, watching: InotifyTree) -> None:
    os.chmod(tree / "a" / "b", 0o700)
    assert noticed(watching) == changed(b"a", b"a/b")
    os.chmod(tree, 0o700)
    assert noticed(watching) == changed(b"")


def test_a_new_directory_is_watched_with_all_that_came_to_be_in_it(tree: Path, watching: InotifyTree) -> None:
    (tree / "c" / "new" / "deep").mkdir(parents=True)
    assert b"c/new" in noticed(watching).trees
    (tree / "c" / "new" / "deep" / "file").write_bytes(b"1")
    assert noticed(watching).directories == {b"c/new/deep"}


def test_a_directory_that_came_from_elsewhere_is_watched(tree: Path, tmp_path: Path, watching: InotifyTree) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    os.rename(tmp_path / "outside", tree / "c" / "inside")
    assert noticed(watching) == changed(b"c", trees=(b"c/inside",))
    (tree / "c" / "inside" / "deep" / "file").write_bytes(b"1")
    assert noticed(watching) == changed(b"c/inside/deep")


def test_what_is_moved_is_noticed_where_it_is_then(tree: Path, watching: InotifyTree) -> None:
    os.rename(tree / "a", tree / "c" / "moved")
    assert noticed(watching) == changed(b"", b"c", trees=(b"c/moved",))
    (tree / "c" / "moved" / "b" / "deep").write_bytes(b"1")
    assert noticed(watching) == changed(b"c/moved/b")


def test_what_is_moved_and_changed_at_once_is_noticed(tree: Path, watching: InotifyTree) -> None:
    os.rename(tree / "a", tree / "d")
    (tree / "d" / "b" / "deep").write_bytes(b"1")
    os.rename(tree / "d", tree / "e")
    (tree / "e" / "b" / "deep").write_bytes(b"2")
    seen = noticed(watching)
    assert b"e" in seen.trees
    (tree / "e" / "b" / "deep").write_bytes(b"3")
    assert noticed(watching) == changed(b"e/b")


def test_two_directories_that_are_exchanged_are_each_watched_as_what_they_are(
    tree: Path, watching: InotifyTree
) -> None:
    shutil.copytree(tree / "a", tree / "a.new")
    watching.read()
    os.rename(tree / "a", tree / "a.old")
    os.rename(tree / "a.new", tree / "a")
    assert noticed(watching).trees == {b"a", b"a.old"}
    (tree / "a" / "b" / "deep").write_bytes(b"new")
    assert noticed(watching) == changed(b"a/b")
    (tree / "a.old" / "b" / "deep").write_bytes(b"old")
    assert noticed(watching) == changed(b"a.old/b")


def test_what_has_left_is_not_watched(tree: Path, tmp_path: Path, watching: InotifyTree) -> None:
    os.rename(tree / "a", tmp_path / "elsewhere")
    assert noticed(watching) == changed(b"")
    (tmp_path / "elsewhere" / "b" / "deep").write_bytes(b"1")
    assert not noticed(watching)
    os.rename(tmp_path / "elsewhere", tree / "a")
    assert noticed(watching) == changed(b"", trees=(b"a",))
    (tree / "a" / "b" / "deep").write_bytes(b"2")
    assert noticed(watching) == changed(b"a/b")


def test_what_has_left_and_was_replaced_at_once_is_not_taken_for_it(
    tree: Path, tmp_path: Path, watching: InotifyTree
) -> None:
    shutil.copytree(tree / "a", tmp_path / "next")
    os.rename(tree / "a", tmp_path / "elsewhere")
    os.rename(tmp_path / "next", tree / "a")
    assert noticed(watching) == changed(b"", trees=(b"a",))
    (tmp_path / "elsewhere" / "b" / "deep").write_bytes(b"1")
    assert not noticed(watching)
    (tree / "a" / "b" / "deep").write_bytes(b"2")
    assert noticed(watching) == changed(b"a/b")


def test_a_removed_tree_is_forgotten(tree: Path, watching: InotifyTree) -> None:
    shutil.rmtree(tree / "a")
    assert b"" in noticed(watching).directories
    (tree / "a" / "b").mkdir(parents=True)
    assert b"a" in noticed(watching).trees
    (tree / "a" / "b" / "file").write_bytes(b"1")
    assert noticed(watching) == changed(b"a/b")


def replace_root(tree: Path) -> None:
    shutil.copytree(tree, tree.parent / "next")
    os.rename(tree, tree.parent / "before")
    os.rename(tree.parent / "next", tree)


def remove_root(tree: Path) -> None:
    shutil.rmtree(tree)


@pytest.mark.parametrize("change", [replace_root, remove_root])
def test_when_the_directory_itself_is_another_everything_may_be(tree: Path, watching: InotifyTree, change: Any) -> None:
    change(tree)
    assert noticed(watching) == EVERYTHING


def test_when_the_link_to_the_directory_leads_elsewhere_everything_may_be_other(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "next")
    (tmp_path / "link").symlink_to("served")
    watching = InotifyTree(bytes(tmp_path / "link"), one_file_system=False)
    try:
        (tree / "a" / "file").write_bytes(b"through the link")
        assert noticed(watching) == changed(b"a")
        (tmp_path / "link.new").symlink_to("next")
        assert not noticed(watching)
        os.replace(tmp_path / "link.new", tmp_path / "link")
        assert noticed(watching) == EVERYTHING
    finally:
        watching.close()


def test_a_single_file_is_watched_and_nothing_beside_it(tree: Path) -> None:
    watching = InotifyTree(bytes(tree / "top"), one_file_system=False)
    try:
        (tree / "beside").write_bytes(b"1")
        assert not noticed(watching)
        (tree / "top").write_bytes(b"1")
        assert noticed(watching) == EVERYTHING
        os.replace(tree / "beside", tree / "top")
        assert noticed(watching) == EVERYTHING
    finally:
        watching.close()


def test_the_workplace_of_a_download_into_the_directory_is_none_of_it(tree: Path, watching: InotifyTree) -> None:
    (tree / ".xget" / "parts").mkdir(parents=True)
    (tree / ".xget" / "parts" / "1").write_bytes(b"part")
    assert not noticed(watching)


def test_names_that_are_no_text_are_noticed(tree: Path, watching: InotifyTree) -> None:
    os.mkdir(bytes(tree) + b"/\xff\xfe")
    assert noticed(watching).trees == {b"\xff\xfe"}
    os.mkdir(bytes(tree) + b"/\xff\xfe/below")
    assert noticed(watching) == changed(b"\xff\xfe", trees=(b"\xff\xfe/below",))


def test_events_that_were_lost_may_be_of_anything(
    tree: Path, watching: InotifyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(INotify, "read", lambda *_, **__: [Event(-1, flags.Q_OVERFLOW, 0, "")])
    assert noticed(watching) == EVERYTHING


@pytest.mark.parametrize(
    ("refused", "code", "why"),
    [
        ("add_watch", errno.ENOSPC, "max_user_watches"),
        ("add_watch", errno.ENOMEM, "memory"),
        ("__init__", errno.EMFILE, "max_user_instances"),
    ],
)
def test_what_the_kernel_refuses_is_said(
    tree: Path, monkeypatch: pytest.MonkeyPatch, refused: str, code: int, why: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(INotify, refused, refuse)
    with pytest.raises(CannotWatch, match=why):
        InotifyTree(bytes(tree), one_file_system=False)
    assert len(os.listdir("/proc/self/fd")) == before


def test_new_directories_that_the_kernel_refuses_to_watch_are_said(
    tree: Path, watching: InotifyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(INotify, "add_watch", refuse)
    (tree / "new").mkdir()
    with pytest.raises(CannotWatch, match="max_user_watches"):
        watching.read()


def test_what_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(CannotWatch, match="No such file"):
        InotifyTree(bytes(tmp_path / "nothing"), one_file_system=False)
