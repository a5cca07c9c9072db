"""What 9P2000 and 9P2000.u show of links and devices, which only the latter can express."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from test.support.memory_tree import MemoryFile, MemoryTree
from xget_lib.errors import NinepError
from xget_lib.ninep.fids import Fids
from xget_lib.ninep.limits import Limits
from xget_lib.ninep.messages import Rstat, Tattach, Tstat, Twalk
from xget_lib.ninep.plain_fids import PlainFids, UnixFids
from xget_lib.ninep.stat import DMSETUID, DMSYMLINK, PLAIN_STAT, UNIX_STAT, Stat
from xget_lib.ninep.wire import NOFID


@dataclass(frozen=True)
class Marked(MemoryFile):
    """A file with further bits in its mode."""

    bits: int = 0

    def stat(self) -> Stat:
        return replace(super().stat(), mode=self.mode | self.bits)


def fids_of(kind: type[Fids]) -> Fids:
    tree = MemoryTree()
    link, program = Marked(tree, 50, "link", bits=DMSYMLINK), Marked(tree, 51, "program", bits=DMSETUID)
    tree.root = MemoryFile(tree, 1, "/", children=(link, program))
    fids = kind(lambda uname, aname: tree.root, 8192, Limits(max_fids=10, max_open=10))
    fids.carry_out(Tattach(0, NOFID, "glenda", ""))
    return fids


def mode_of(fids: Fids, name: str, kind: type[Fids]) -> int:
    fids.carry_out(Twalk(0, 1, (name,)))
    reply = fids.carry_out(Tstat(1))
    assert isinstance(reply, Rstat)
    return Stat.unpack(reply.stat, UNIX_STAT if kind is UnixFids else PLAIN_STAT).mode


def test_a_link_does_not_exist_in_9p2000() -> None:
    with pytest.raises(NinepError, match="neither a file nor a directory"):
        fids_of(PlainFids).carry_out(Twalk(0, 1, ("link",)))


def test_a_link_is_shown_in_9p2000_u() -> None:
    assert mode_of(fids_of(UnixFids), "link", UnixFids) & DMSYMLINK


@pytest.mark.parametrize(("kind", "shown"), [(PlainFids, False), (UnixFids, True)])
def test_set_user_id_is_shown_in_9p2000_u_only(kind: type[Fids], shown: bool) -> None:
    assert bool(mode_of(fids_of(kind), "program", kind) & DMSETUID) == shown
