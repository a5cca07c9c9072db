"""Fids: limits, what a tree is asked for, and that every open handle is released."""

from __future__ import annotations

import pytest

from test.support.conversation import attached, say
from test.support.memory_tree import Log, MemoryFile, MemoryHandle, MemoryTree
from xget_lib.errors import NinepError
from xget_lib.ninep.messages import Rerror, Rread, Rwalk, Tattach, Tclunk, Topen, Tread, Twalk, Twrite
from xget_lib.ninep.walked_file import WalkedFile
from xget_lib.ninep.wire import NOFID


def test_a_walk_remembers_the_way_back_and_stays_at_the_root() -> None:
    root = WalkedFile(MemoryTree().root, None)
    leaf = root.step("deep").step("er").step("leaf")
    assert (leaf.unused(), leaf.is_directory, root.is_directory) == (4, False, True)
    assert leaf.parent is not None and leaf.parent.step("..").step("..").step("..") is root


def test_the_files_of_a_way_are_counted_once_for_all_fids_that_share_it() -> None:
    root = WalkedFile(MemoryTree().root, None)
    root.use()
    directory = root.step("deep")
    leaves = [directory.step("er") for _ in range(2)]
    assert leaves[0].unused() == 2
    leaves[0].use()
    assert leaves[1].unused() == 1
    leaves[1].use()
    directory.use()
    assert directory.release() == 0
    assert root.release() == 0
    assert [leaf.release() for leaf in leaves] == [1, 3]


@pytest.mark.parametrize("name", ["", ".", "a/b"])
def test_the_tree_is_not_asked_for_an_illegal_name(name: str) -> None:
    with pytest.raises(NinepError, match="illegal path element"):
        WalkedFile(MemoryTree().root, None).step(name)


def test_more_fids_than_allowed_are_refused() -> None:
    session = attached(MemoryTree(), max_fids=3)
    replies = say(session, Twalk(0, 1, ()), Twalk(0, 2, ()), Twalk(0, 3, ()), Tattach(4, NOFID, "", ""))
    assert replies == [Rwalk(()), Rwalk(()), Rerror("Too many open files"), Rerror("Too many open files")]
    assert say(session, Twalk(0, 2, ())) == [Rerror("fid already in use")]
    assert say(session, Tclunk(2), Twalk(0, 3, ()))[1] == Rwalk(())


def test_an_unexpected_exception_of_a_tree_is_not_hidden() -> None:
    class Buggy(MemoryHandle):
        def read(self, offset: int, count: int) -> bytes:
            raise ZeroDivisionError

    class Verbose(MemoryHandle):
        def read(self, offset: int, count: int) -> bytes:
            return bytes(count + 1)

    tree = MemoryTree()
    for handle, error in ((Buggy, ZeroDivisionError), (Verbose, AssertionError)):

        class File(MemoryFile):
            opened_as: type[MemoryHandle] = handle

            def open(self, mode: int) -> MemoryHandle:
                return self.opened_as(self)

        tree.root = File(tree, 1, "/")
        session = attached(tree)
        with pytest.raises(error):
            say(session, Topen(0, 0), Tread(0, 0, 10))


def test_close_clunks_every_fid_even_when_one_has_a_bug() -> None:
    class Buggy(MemoryHandle):
        def clunk(self) -> None:
            super().clunk()
            raise ZeroDivisionError

    class Trap(MemoryFile):
        def open(self, mode: int) -> MemoryHandle:
            return self._opened(Buggy(self))

    tree = MemoryTree()
    tree.root = MemoryFile(tree, 1, "/", children=(Trap(tree, 2, "trap"), Log(tree, 3, "log")))
    session = attached(tree)
    for fid, name in enumerate(["log", "trap", "log", "trap"], start=1):
        say(session, Twalk(0, fid, (name,)), Topen(fid, 0))
    with pytest.raises(ZeroDivisionError):
        session.close()
    assert [handle.clunks for handle in tree.handles] == [1, 1, 1, 1]
    assert session.fid_count == 0


def test_what_is_written_reaches_the_file() -> None:
    tree = MemoryTree()
    session = attached(tree)
    say(session, Twalk(0, 1, ("log",)), Topen(1, 1), Twrite(1, 0, b"one"), Twrite(1, 3, b"two"))
    assert tree.log == [b"one", b"two"]


def test_a_tree_is_asked_for_no_more_than_fits_one_reply() -> None:
    session = attached(MemoryTree())
    say(session, Twalk(0, 1, ("image",)), Topen(1, 0))
    (reply,) = say(session, Tread(1, 0, 2**32 - 1))
    assert isinstance(reply, Rread)
    assert len(reply.data) == 8192 - 11
