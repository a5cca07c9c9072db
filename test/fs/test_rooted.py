"""Files below a directory: no link is followed, nothing outside is reached, no descriptor is lost."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from test.support.descriptors import open_descriptors
from test.support.somebody import as_nobody
from xget_lib.errors import PathRefused
from xget_lib.fs import rooted
from xget_lib.fs.inode import NamedInode
from xget_lib.fs.rooted import Root


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with something in it, beside one that must not be reached."""
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "a" / "b" / "file").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    (tmp_path / "top" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "top" / "a" / "link").symlink_to("b/file")
    return tmp_path / "top"


@pytest.fixture
def root(top: Path) -> Iterator[Root]:
    with Root(os.fsencode(top)) as root:
        yield root


def content(root: Root, path: bytes) -> bytes:
    descriptor = root.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


OPERATIONS: dict[str, Callable[[Root, bytes], object]] = {
    "open": lambda root, path: root.open(path, os.O_RDONLY),
    "create": lambda root, path: root.open(path, os.O_WRONLY | os.O_CREAT),
    "lstat": lambda root, path: root.lstat(path),
    "readlink": lambda root, path: root.readlink(path),
    "names": lambda root, path: root.names(path),
    "mkdir": lambda root, path: root.mkdir(path),
    "symlink": lambda root, path: root.symlink(b"x", path),
    "link from": lambda root, path: root.link(path, b"new"),
    "link to": lambda root, path: root.link(b"a/b/file", path),
    "rename from": lambda root, path: root.rename(path, b"new"),
    "rename to": lambda root, path: root.rename(b"a/b/file", path),
    "unlink": lambda root, path: root.unlink(path),
    "rmdir": lambda root, path: root.rmdir(path),
    "mknod": lambda root, path: root.mknod(path, stat.S_IFIFO | 0o600),
    "chown": lambda root, path: NamedInode(root, path).chown(os.getuid(), os.getgid()),
    "chmod": lambda root, path: NamedInode(root, path).chmod(0o600),
    "utime": lambda root, path: NamedInode(root, path).utime(0),
}


def picture(directory: Path) -> list[tuple[str, int, int, int]]:
    found = [directory, *directory.rglob("*")]
    return sorted((str(p), p.lstat().st_mode, p.lstat().st_mtime_ns, p.lstat().st_nlink) for p in found)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "path", [b"/etc", b"//etc", b"..", b"../outside/file", b"a/..", b"a/../a", b".", b"./a", b"a/", b"a//b", b"a/./b"]
)
def test_a_path_that_is_not_plainly_below_is_refused(root: Root, top: Path, operation: str, path: bytes) -> None:
    before = picture(top.parent)
    with pytest.raises(PathRefused, match="leads out of the directory"):
        OPERATIONS[operation](root, path)
    assert picture(top.parent) == before


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_link_is_no_way_to_what_it_points_to(root: Root, top: Path, operation: str) -> None:
    before = picture(top.parent)
    with pytest.raises(NotADirectoryError):
        OPERATIONS[operation](root, b"out/file")
    assert picture(top.parent) == before


def test_a_link_that_replaces_an_open_directory_is_not_followed(root: Root, top: Path) -> None:
    assert content(root, b"a/b/file") == b"inside"
    (top / "a").rename(top / "was-a")
    (top / "a").symlink_to(top.parent / "outside")
    assert content(root, b"a/b/file") == b"inside"  # the directory that was walked
    root.forget()
    with pytest.raises(NotADirectoryError):
        content(root, b"a/file")


def test_a_link_is_not_opened_but_seen(root: Root) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        root.open(b"a/link", os.O_RDONLY)
    assert stat.S_ISLNK(root.lstat(b"a/link").st_mode)
    assert root.readlink(b"a/link") == b"b/file"


def test_files_directories_and_links_are_made_and_removed(root: Root, top: Path) -> None:
    root.mkdir(b"new", 0o700)
    root.mkdir(b"new/deep")
    os.close(root.open(b"new/deep/x", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
    root.link(b"new/deep/x", b"new/y")
    root.symlink(b"../target", b"new/z")
    status = (top / "new" / "y").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o640, 2)
    assert os.readlink(top / "new" / "z") == "../target"
    assert sorted(root.names(b"new")) == [b"deep", b"y", b"z"]
    root.rename(b"new/y", b"a/b/file")
    assert (top / "a" / "b" / "file").stat().st_nlink == 2
    root.unlink(b"new/deep/x")
    root.rmdir(b"new/deep")
    root.unlink(b"new/z")
    assert list((top / "new").iterdir()) == []


def test_the_root_itself_can_be_read_but_has_no_name(root: Root, top: Path) -> None:
    assert root.lstat(b"").st_ino == top.stat().st_ino
    assert sorted(root.names(b"")) == [b"a", b"out"]
    assert root.statvfs().f_bsize > 0
    for operation in ("unlink", "rmdir", "rename from", "rename to", "mkdir", "symlink", "link from", "link to"):
        with pytest.raises(OSError, match=r"."):
            OPERATIONS[operation](root, b"")


def test_a_renamed_or_removed_directory_is_walked_anew(root: Root, top: Path) -> None:
    assert content(root, b"a/b/file") == b"inside"
    root.rename(b"a", b"c")
    assert content(root, b"c/b/file") == b"inside"
    with pytest.raises(FileNotFoundError):
        content(root, b"a/b/file")
    root.mkdir(b"d")
    assert root.names(b"d") == []
    with pytest.raises(FileNotFoundError):
        root.lstat(b"d/x")
    root.rmdir(b"d")
    root.mkdir(b"d")
    os.close(root.open(b"d/x", os.O_WRONLY | os.O_CREAT))
    assert (top / "d" / "x").exists()


def test_a_fifo_does_not_hang_it(root: Root, top: Path) -> None:
    os.mkfifo(top / "fifo")
    descriptor = root.open(b"fifo", os.O_RDONLY)
    assert stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    os.close(descriptor)


def test_paths_longer_than_the_kernel_takes(root: Root) -> None:
    path = b""
    for depth in range(30):
        path += b"/" * (depth > 0) + b"n" * 200
        root.mkdir(path)
    assert len(path) > 4096
    os.close(root.open(path + b"/x", os.O_WRONLY | os.O_CREAT))
    root.forget()
    assert root.names(path) == [b"x"]
    root.unlink(path + b"/x")
    while path:
        root.rmdir(path)
        path = path.rpartition(b"/")[0]


def test_few_directories_stay_open_and_none_after_closing(top: Path) -> None:
    before = open_descriptors()
    root = Root(os.fsencode(top))
    for number in range(3 * rooted.DIRECTORIES_KEPT):
        root.mkdir(b"%d" % number)
        os.close(root.open(b"%d/x" % number, os.O_WRONLY | os.O_CREAT))
    assert len(open_descriptors() - before) == rooted.DIRECTORIES_KEPT + 1
    for path in (b"missing/x", b"out/x", b"a/b/file/x", b"../x"):
        with pytest.raises((OSError, PathRefused)):
            root.lstat(path)
    assert len(open_descriptors() - before) == rooted.DIRECTORIES_KEPT + 1
    root.close()
    root.close()
    assert open_descriptors() == before
    with pytest.raises(ValueError, match="closed"):
        root.lstat(b"a")


def test_every_descriptor_is_closed_in_children_of_exec(root: Root) -> None:
    descriptor = root.open(b"a/b/file", os.O_RDONLY)
    ours = [int(name) for name in open_descriptors() if os.path.exists(f"/proc/self/fd/{name}")]
    linked = [fd for fd in ours if os.readlink(f"/proc/self/fd/{fd}").startswith(os.fsdecode(root.path))]
    assert len(linked) >= 4
    assert not any(os.get_inheritable(fd) for fd in linked)
    os.close(descriptor)


def test_threads_never_meet_a_descriptor_closed_by_another(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two directories each walk evicts what others use. A descriptor closed too early would be reused
    for another directory, and a read would give the wrong content."""
    monkeypatch.setattr(rooted, "DIRECTORIES_KEPT", 2)
    for number in range(8):
        (top / f"{number}" / "sub").mkdir(parents=True)
        (top / f"{number}" / "sub" / "x").write_text(str(number))
    before = open_descriptors()
    root = Root(os.fsencode(top))
    wrong: list[object] = []

    def read(start: int) -> None:
        try:
            for step in range(800):
                number = (start + step * 3) % 8
                if content(root, b"%d/sub/x" % number) != b"%d" % number:
                    wrong.append(number)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    root.close()
    assert wrong == []
    assert open_descriptors() == before


def test_whether_names_can_be_changed_depends_on_permissions_and_capabilities(open_to_all: Path) -> None:
    (open_to_all / "closed").mkdir(mode=0o555)
    (open_to_all / "open").mkdir()
    (open_to_all / "open").chmod(0o777)

    def look() -> None:
        with Root(bytes(open_to_all)) as root:
            assert (root.is_writable(b"open"), root.is_writable(b"closed")) == (True, False)

    as_nobody(look)
    with Root(bytes(open_to_all)) as root:
        assert root.is_writable(b"closed") == (os.geteuid() == 0)


def test_a_held_directory_is_reached_whatever_gets_its_name(root: Root, top: Path) -> None:
    root.hold(b"a")
    root.hold(b"a/b")
    (top / "a").rename(top / "aside")
    (top / "a").symlink_to(top.parent / "outside")
    root.forget()
    assert content(root, b"a/b/file") == b"inside"
    root.link(b"a/b/file", b"a/another")
    assert (top / "aside/another").read_text() == "inside"
    root.let_go(b"a/b")
    root.let_go(b"a")
    with pytest.raises(NotADirectoryError):
        content(root, b"a/b/file")


def test_a_directory_that_was_removed_is_not_held_any_more(root: Root, top: Path) -> None:
    root.mkdir(b"new")
    root.hold(b"new")
    root.rmdir(b"new")
    root.mkdir(b"new")
    root.mkdir(b"new/below")
    assert (top / "new/below").is_dir()


def test_nothing_that_is_a_link_is_held(root: Root) -> None:
    with pytest.raises(NotADirectoryError):
        root.hold(b"out")


def test_a_root_follows_its_directory_and_says_whether_its_path_does(root: Root, top: Path) -> None:
    assert root.is_at_path
    top.rename(top.parent / "elsewhere")
    assert not root.is_at_path
    top.mkdir()
    assert not root.is_at_path
    with root.again() as again, Root(os.fsencode(top)) as new:
        assert content(again, b"a/b/file") == b"inside"
        assert again.is_same(root) and not new.is_same(root)
        assert new.is_at_path


def test_what_is_held_is_closed_with_the_root(top: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Root(os.fsencode(top)) as root:
        root.hold(b"a")
        root.hold(b"a")
        with root.again():
            pass
    assert len(os.listdir("/proc/self/fd")) == before
