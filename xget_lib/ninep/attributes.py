"""The facts of stat(2) and statfs(2) about a file, for 9P2000.L, which carries them.

9P2000 and 9P2000.u have a directory entry (`stat`) instead. `of_stat` derives the attributes of a file that has only
that, such as a control file; owners without a number become 0.
"""

from __future__ import annotations

import stat as unix

from xget_lib.dataclass import dataclass
from xget_lib.ninep.stat import DMDIR, NO_ID, Stat

_NANOSECONDS = 1_000_000_000
BLOCK = 4096
"""Bytes: what a program should read at once, if nothing else is known."""
_SECTOR = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """As in os.stat_result: `st_mode` with the kind of file, times in nanoseconds since the epoch, sizes in bytes,
    `st_blocks` of 512 bytes."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_nlink: int = 1
    st_rdev: int = 0
    st_size: int
    st_blksize: int = BLOCK
    st_blocks: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """The file system that a file is on: the fields of Rstatfs after `type`, in its order. Sizes in blocks of `bsize`
    bytes."""

    bsize: int = BLOCK
    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    fsid: int = 0
    namelen: int = 255


def of_stat(stat: Stat) -> Attributes:
    """The attributes of a file of which there is only a directory entry."""
    kind = unix.S_IFDIR if stat.mode & DMDIR else unix.S_IFREG
    return Attributes(
        st_mode=kind | stat.mode & 0o777,
        st_uid=0 if stat.n_uid == NO_ID else stat.n_uid,
        st_gid=0 if stat.n_gid == NO_ID else stat.n_gid,
        st_size=stat.length,
        st_blocks=-(-stat.length // _SECTOR),
        st_atime_ns=stat.atime * _NANOSECONDS,
        st_mtime_ns=stat.mtime * _NANOSECONDS,
        st_ctime_ns=stat.mtime * _NANOSECONDS,
    )
