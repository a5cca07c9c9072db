"""9P2000.L: what is refused, and reading a directory by cookies. The rest is in test/traces/linux.txt."""

from __future__ import annotations

import errno
import os

import pytest

from test.support.memory_tree import MemoryTree
from xget_lib.errors import NinepError
from xget_lib.ninep.fids import Fids
from xget_lib.ninep.limits import Limits
from xget_lib.ninep.linux import REFUSED, Refused, Rgetattr, Rreaddir, Tgetattr, Tlopen, Treaddir
from xget_lib.ninep.linux_fids import LinuxFids
from xget_lib.ninep.messages import Tattach, Twalk
from xget_lib.ninep.stat import DirectoryEntry
from xget_lib.ninep.wire import NOFID, Layout

ENTRY = Layout.of(DirectoryEntry, unix=True, linux=True)


@pytest.fixture
def fids() -> Fids:
    """Fid 0 is the root."""
    tree = MemoryTree()
    fids = LinuxFids(lambda uname, aname: tree.root, 8192, Limits(max_fids=10, max_open=10))
    fids.carry_out(Tattach(0, NOFID, "glenda", ""))
    return fids


@pytest.mark.parametrize("number", REFUSED)
def test_a_change_is_refused_and_so_is_a_lock(fids: Fids, number: int) -> None:
    name, expected = REFUSED[number]
    assert expected == (errno.ENOLCK if "lock" in name else errno.EROFS)
    with pytest.raises(NinepError) as refused:
        fids.carry_out(Refused(number, 0, b""))
    assert refused.value.errno == expected


def test_a_refused_request_needs_a_valid_fid_all_the_same(fids: Fids) -> None:
    with pytest.raises(NinepError) as refused:
        fids.carry_out(Refused(72, 9, b""))
    assert refused.value.errno == errno.EBADF


def test_reading_a_directory_continues_after_any_cookie(fids: Fids) -> None:
    fids.carry_out(Twalk(0, 1, ("many",)))
    fids.carry_out(Tlopen(1, os.O_RDONLY))
    for cookie in (0, 17, 39, 40):
        reply = fids.carry_out(Treaddir(1, cookie, 24 + len("file00")))
        assert isinstance(reply, Rreaddir)
        if cookie == 40:
            assert reply.data == b""
        else:
            entry = DirectoryEntry(*ENTRY.unpack(reply.data))
            assert (entry.name, entry.cookie) == (f"file{cookie:02}", cookie + 1)


def test_an_entry_that_does_not_fit_is_an_error(fids: Fids) -> None:
    fids.carry_out(Twalk(0, 1, ("many",)))
    fids.carry_out(Tlopen(1, os.O_RDONLY))
    with pytest.raises(NinepError, match="Invalid argument"):
        fids.carry_out(Treaddir(1, 0, 10))


def test_times_are_seconds_and_nanoseconds(fids: Fids) -> None:
    reply = fids.carry_out(Tgetattr(0, 0x7FF))
    assert isinstance(reply, Rgetattr)
    assert (reply.mtime_sec, reply.mtime_nsec) == (1_577_934_245, 0)
