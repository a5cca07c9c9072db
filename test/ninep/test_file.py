"""What files and handles answer that have nothing of their own to say."""

from __future__ import annotations

import errno
import stat as unix

import pytest

from test.support.memory_tree import DirectoryHandle, MemoryTree
from xget_lib.errors import NinepError
from xget_lib.ninep.attributes import of_stat
from xget_lib.ninep.file import DT_DIR, DT_REG, File, Handle


def test_a_handle_refuses_what_it_does_not_do() -> None:
    handle = Handle()
    for refused in (lambda: handle.read(0, 1), lambda: handle.write(0, b"x"), handle.children):
        with pytest.raises(NinepError):
            refused()
    handle.clunk()


def test_entries_are_the_children_after_a_cookie() -> None:
    handle = DirectoryHandle(MemoryTree().root)
    entries = list(handle.entries(0))
    assert [entry.cookie for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.name: entry.type for entry in entries}["deep"] == DT_DIR
    assert {entry.name: entry.type for entry in entries}["hello"] == DT_REG
    assert list(handle.entries(3)) == entries[3:]
    assert list(handle.entries(2**64 - 1)) == []


def test_a_file_has_no_link_target_and_no_extended_attributes() -> None:
    file: File = MemoryTree().find("hello")
    for ask, expected in ((file.readlink, errno.EINVAL), (lambda: file.xattr("user.x"), errno.EOPNOTSUPP)):
        with pytest.raises(NinepError) as refused:
            ask()
        assert refused.value.errno == expected


def test_the_attributes_of_a_file_follow_from_its_directory_entry() -> None:
    tree = MemoryTree()
    hello = of_stat(tree.find("hello").stat())
    assert (hello.st_mode, hello.st_size, hello.st_blocks) == (unix.S_IFREG | 0o644, 10, 1)
    assert (hello.st_uid, hello.st_gid, hello.st_mtime_ns) == (0, 0, 1_577_934_245 * 10**9)
    assert tree.root.attributes().st_mode == unix.S_IFDIR | 0o755
