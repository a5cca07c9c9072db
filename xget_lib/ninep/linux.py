"""The messages that 9P2000.L has in addition to, or instead of, those of 9P2000: Linux's own calls.

The types are those of the kernel's include/net/9p/9p.h, fields and meanings those of diod's protocol description
(protocol.md in its sources). Strings are names of Linux: any bytes but NUL.

This module does not import annotations from __future__: `Layout.of` reads them as objects.
"""

import errno

from xget_lib.ninep.messages import RMessage, TMessage
from xget_lib.ninep.wire import data4, qid13, tail, text, u32, u64

# Flags of Tlopen: those of open(2) in the kernel's generic numbers, whatever the machine's own are.
P9_ACCESS = 0o3
P9_TRUNC = 0o1000
P9_DIRECTORY = 0o200000

GETATTR_BASIC = 0x7FF  # what stat(2) knows: all but time of birth, generation and data version
V9FS_MAGIC = 0x01021997  # the type of file system in Rstatfs: linux/magic.h


class Rlerror(RMessage, number=7):
    is_error = True

    ecode: u32


class Tstatfs(TMessage, number=8):
    fid: u32


class Rstatfs(RMessage, number=9):
    type: u32
    bsize: u32
    blocks: u64
    bfree: u64
    bavail: u64
    files: u64
    ffree: u64
    fsid: u64
    namelen: u32


class Tlopen(TMessage, number=12):
    fid: u32
    flags: u32


class Rlopen(RMessage, number=13):
    qid: qid13
    iounit: u32


class Treadlink(TMessage, number=22):
    fid: u32


class Rreadlink(RMessage, number=23):
    target: text


class Tgetattr(TMessage, number=24):
    fid: u32
    request_mask: u64


class Rgetattr(RMessage, number=25):
    valid: u64
    qid: qid13
    mode: u32
    uid: u32
    gid: u32
    nlink: u64
    rdev: u64
    size: u64
    blksize: u64
    blocks: u64
    atime_sec: u64
    atime_nsec: u64
    mtime_sec: u64
    mtime_nsec: u64
    ctime_sec: u64
    ctime_nsec: u64
    btime_sec: u64 = 0
    btime_nsec: u64 = 0
    gen: u64 = 0
    data_version: u64 = 0


class Txattrwalk(TMessage, number=30):
    fid: u32
    newfid: u32
    name: text


class Rxattrwalk(RMessage, number=31):
    size: u64


class Treaddir(TMessage, number=40):
    fid: u32
    offset: u64
    count: u32


class Rreaddir(RMessage, number=41):
    data: data4


class Tfsync(TMessage, number=50):
    fid: u32
    datasync: u32 = 0


class Rfsync(RMessage, number=51):
    pass


class Refused(TMessage):
    """A request that this server always refuses: one of REFUSED. All of these begin with a fid."""

    number: int
    fid: u32
    rest: tail


REFUSED = {
    14: ("Tlcreate", errno.EROFS),
    16: ("Tsymlink", errno.EROFS),
    18: ("Tmknod", errno.EROFS),
    20: ("Trename", errno.EROFS),
    26: ("Tsetattr", errno.EROFS),
    32: ("Txattrcreate", errno.EROFS),
    52: ("Tlock", errno.ENOLCK),
    54: ("Tgetlock", errno.ENOLCK),
    70: ("Tlink", errno.EROFS),
    72: ("Tmkdir", errno.EROFS),
    74: ("Trenameat", errno.EROFS),
    76: ("Tunlinkat", errno.EROFS),
}
"""By type: the name of a request that is refused, and the error that answers it."""
