"""Owner, mode, times and extended attributes: the same of an open file and of a name, and a link's own of a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from xget_lib.fs.inode import Inode, NamedInode, OpenInode, pinned
from xget_lib.fs.rooted import Root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    with Root(bytes(tmp_path)) as root:
        yield root


@pytest.fixture(params=["open", "named", "pinned"])
def inode(root: Root, request: pytest.FixtureRequest) -> Iterator[Inode]:
    if request.param == "named":
        yield NamedInode(root, b"file")
        return
    if request.param == "pinned":
        with pinned(root, b"file", root.lstat(b"file")) as inode:
            yield inode
        return
    with root.opened(b"file", os.O_RDONLY) as descriptor:
        yield OpenInode(descriptor)


def test_mode_times_and_owner_are_set(inode: Inode, root: Root) -> None:
    inode.chmod(0o640)
    inode.utime(5_000_000_001)
    inode.chown(os.getuid(), os.getgid())
    status = root.lstat(b"file")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, 5_000_000_001)


def test_extended_attributes_are_set_read_and_removed(inode: Inode) -> None:
    inode.setxattr(b"user.b", b"two")
    inode.setxattr(b"user.a", b"")
    assert inode.xattrs() == ((b"user.a", b""), (b"user.b", b"two"))
    inode.removexattr(b"user.a")
    assert inode.xattrs() == ((b"user.b", b"two"),)


def test_a_symbolic_link_is_not_followed(root: Root) -> None:
    before = root.lstat(b"file").st_mtime_ns
    link = NamedInode(root, b"link")
    link.utime(5_000_000_001)
    link.chown(os.getuid(), os.getgid())
    assert link.xattrs() == ()
    assert root.lstat(b"link").st_mtime_ns == 5_000_000_001
    assert root.lstat(b"file").st_mtime_ns == before
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        link.chmod(0o600)
    with pytest.raises(OSError, match=r"."):
        link.setxattr(b"user.x", b"links take none")


def test_the_mode_of_a_file_that_cannot_be_opened_is_set(root: Root) -> None:
    for mode in (0, 0o400):
        NamedInode(root, b"file").chmod(mode)
        assert stat.S_IMODE(root.lstat(b"file").st_mode) == mode


def test_the_root_itself_has_metadata(root: Root, tmp_path: Path) -> None:
    top = NamedInode(root, b"")
    top.chmod(0o750)
    top.utime(3)
    top.chown(os.getuid(), os.getgid())
    assert (stat.S_IMODE(tmp_path.stat().st_mode), tmp_path.stat().st_mtime_ns) == (0o750, 3)


def test_a_pinned_file_stays_the_same_whatever_gets_its_name(root: Root, tmp_path: Path) -> None:
    with pinned(root, b"file", root.lstat(b"file")) as inode:
        (tmp_path / "file").rename(tmp_path / "aside")
        (tmp_path / "file").write_text("another")
        inode.chmod(0o604)
        inode.utime(5)
        inode.setxattr(b"user.a", b"x")
        inode.chown(os.getuid(), os.getgid())
        assert inode.status().st_ino == (tmp_path / "aside").stat().st_ino
    aside, other = (tmp_path / "aside").stat(), (tmp_path / "file").stat()
    assert (stat.S_IMODE(aside.st_mode), aside.st_mtime_ns, os.listxattr(tmp_path / "aside")) == (0o604, 5, ["user.a"])
    assert other.st_mtime_ns != 5 and os.listxattr(tmp_path / "file") == []


def test_a_pinned_link_is_changed_itself(root: Root, tmp_path: Path) -> None:
    before = (tmp_path / "file").stat()
    with pinned(root, b"link", root.lstat(b"link")) as inode:
        inode.utime(5)
        inode.chown(os.getuid(), os.getgid())
        assert inode.xattrs() == ()
        with pytest.raises(OSError, match="Too many levels"):
            inode.chmod(0o600)
    assert (tmp_path / "link").lstat().st_mtime_ns == 5
    assert (tmp_path / "file").stat() == before


@pytest.mark.parametrize("name", ["link", "directory", "other"])
def test_what_was_replaced_is_not_pinned(root: Root, tmp_path: Path, name: str) -> None:
    before = root.lstat(b"file")
    (tmp_path / "directory").mkdir()
    (tmp_path / "other").write_text("of another size")
    (tmp_path / "file").unlink()
    (tmp_path / name).rename(tmp_path / "file")
    with pytest.raises(OSError, match="another program replaced it"), pinned(root, b"file", before):
        pass
