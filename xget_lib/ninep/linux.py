"""The messages of 9P2000.L: Linux's own calls, as they travel.

The types are those of the kernel's include/net/9p/9p.h, layouts and meanings those of diod's protocol description
(protocol.md in its sources). Of 9P2000 remain the messages that mean the same here; Topen, Tcreate, Tstat, Twstat and
Rerror have others in their place. Strings are names of Linux: any bytes but NUL.
"""

from __future__ import annotations

from dataclasses import dataclass

from xget_lib.ninep import messages
from xget_lib.ninep.messages import MESSAGES, NINEP2000_U, RMessage, Table, TMessage
from xget_lib.ninep.wire import Layout, Qid

# What Tlopen asks for: the flags of open(2) in the kernel's generic numbers, whatever the machine's own are.
P9_ACCESS = 0o3
P9_TRUNC = 0o1000
P9_DIRECTORY = 0o200000

GETATTR_BASIC = 0x7FF  # what stat(2) knows: all but time of birth, generation and data version
V9FS_MAGIC = 0x01021997  # the type of file system in Rstatfs: linux/magic.h


@dataclass(frozen=True, slots=True)
class Rlerror(RMessage):
    is_error = True

    ecode: int


@dataclass(frozen=True, slots=True)
class Tstatfs(TMessage):
    fid: int


@dataclass(frozen=True, slots=True)
class Rstatfs(RMessage):
    type: int
    bsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    fsid: int
    namelen: int


@dataclass(frozen=True, slots=True)
class Tlopen(TMessage):
    fid: int
    flags: int


@dataclass(frozen=True, slots=True)
class Rlopen(RMessage):
    qid: Qid
    iounit: int


@dataclass(frozen=True, slots=True)
class Tlcreate(TMessage):
    fid: int
    name: str
    flags: int
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class Rlcreate(RMessage):
    qid: Qid
    iounit: int


@dataclass(frozen=True, slots=True)
class Tsymlink(TMessage):
    dfid: int
    name: str
    symtgt: str
    gid: int


@dataclass(frozen=True, slots=True)
class Rsymlink(RMessage):
    qid: Qid


@dataclass(frozen=True, slots=True)
class Tmknod(TMessage):
    dfid: int
    name: str
    mode: int
    major: int
    minor: int
    gid: int


@dataclass(frozen=True, slots=True)
class Rmknod(RMessage):
    qid: Qid


@dataclass(frozen=True, slots=True)
class Trename(TMessage):
    fid: int
    dfid: int
    name: str


@dataclass(frozen=True, slots=True)
class Rrename(RMessage):
    pass


@dataclass(frozen=True, slots=True)
class Treadlink(TMessage):
    fid: int


@dataclass(frozen=True, slots=True)
class Rreadlink(RMessage):
    target: str


@dataclass(frozen=True, slots=True)
class Tgetattr(TMessage):
    fid: int
    request_mask: int


@dataclass(frozen=True, slots=True)
class Rgetattr(RMessage):
    valid: int
    qid: Qid
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime_sec: int
    atime_nsec: int
    mtime_sec: int
    mtime_nsec: int
    ctime_sec: int
    ctime_nsec: int
    btime_sec: int
    btime_nsec: int
    gen: int
    data_version: int


@dataclass(frozen=True, slots=True)
class Tsetattr(TMessage):
    fid: int
    valid: int
    mode: int
    uid: int
    gid: int
    size: int
    atime_sec: int
    atime_nsec: int
    mtime_sec: int
    mtime_nsec: int


@dataclass(frozen=True, slots=True)
class Rsetattr(RMessage):
    pass


@dataclass(frozen=True, slots=True)
class Txattrwalk(TMessage):
    fid: int
    newfid: int
    name: str


@dataclass(frozen=True, slots=True)
class Rxattrwalk(RMessage):
    size: int


@dataclass(frozen=True, slots=True)
class Txattrcreate(TMessage):
    fid: int
    name: str
    attr_size: int
    flags: int


@dataclass(frozen=True, slots=True)
class Rxattrcreate(RMessage):
    pass


@dataclass(frozen=True, slots=True)
class Treaddir(TMessage):
    fid: int
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Rreaddir(RMessage):
    data: bytes


@dataclass(frozen=True, slots=True)
class Tfsync(TMessage):
    fid: int
    datasync: int = 0


@dataclass(frozen=True, slots=True)
class Rfsync(RMessage):
    pass


@dataclass(frozen=True, slots=True)
class Tlock(TMessage):
    fid: int
    type: int
    flags: int
    start: int
    length: int
    proc_id: int
    client_id: str


@dataclass(frozen=True, slots=True)
class Rlock(RMessage):
    status: int


@dataclass(frozen=True, slots=True)
class Tgetlock(TMessage):
    fid: int
    type: int
    start: int
    length: int
    proc_id: int
    client_id: str


@dataclass(frozen=True, slots=True)
class Rgetlock(RMessage):
    type: int
    start: int
    length: int
    proc_id: int
    client_id: str


@dataclass(frozen=True, slots=True)
class Tlink(TMessage):
    dfid: int
    fid: int
    name: str


@dataclass(frozen=True, slots=True)
class Rlink(RMessage):
    pass


@dataclass(frozen=True, slots=True)
class Tmkdir(TMessage):
    dfid: int
    name: str
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class Rmkdir(RMessage):
    qid: Qid


@dataclass(frozen=True, slots=True)
class Trenameat(TMessage):
    olddirfid: int
    oldname: str
    newdirfid: int
    newname: str


@dataclass(frozen=True, slots=True)
class Rrenameat(RMessage):
    pass


@dataclass(frozen=True, slots=True)
class Tunlinkat(TMessage):
    dirfd: int
    name: str
    flags: int


@dataclass(frozen=True, slots=True)
class Runlinkat(RMessage):
    pass


_REMOVED = (messages.Rerror, messages.Topen, messages.Ropen, messages.Tcreate, messages.Rcreate)
_REMOVED_STATS = (messages.Tstat, messages.Rstat, messages.Twstat, messages.Rwstat)

TABLE: Table = {
    **{
        message: (number, Layout(layout.synopsis, linux=True))
        for message, (number, layout) in MESSAGES[NINEP2000_U].items()
        if message not in (*_REMOVED, *_REMOVED_STATS)
    },
    Rlerror: (7, Layout("ecode[4]", linux=True)),
    Tstatfs: (8, Layout("fid[4]", linux=True)),
    Rstatfs: (
        9,
        Layout(
            "type[4] bsize[4] blocks[8] bfree[8] bavail[8] files[8] ffree[8] fsid[8] namelen[4]",
            linux=True,
        ),
    ),
    Tlopen: (12, Layout("fid[4] flags[4]", linux=True)),
    Rlopen: (13, Layout("qid[13] iounit[4]", linux=True)),
    Tlcreate: (14, Layout("fid[4] name[s] flags[4] mode[4] gid[4]", linux=True)),
    Rlcreate: (15, Layout("qid[13] iounit[4]", linux=True)),
    Tsymlink: (16, Layout("dfid[4] name[s] symtgt[s] gid[4]", linux=True)),
    Rsymlink: (17, Layout("qid[13]", linux=True)),
    Tmknod: (18, Layout("dfid[4] name[s] mode[4] major[4] minor[4] gid[4]", linux=True)),
    Rmknod: (19, Layout("qid[13]", linux=True)),
    Trename: (20, Layout("fid[4] dfid[4] name[s]", linux=True)),
    Rrename: (21, Layout("", linux=True)),
    Treadlink: (22, Layout("fid[4]", linux=True)),
    Rreadlink: (23, Layout("target[s]", linux=True)),
    Tgetattr: (24, Layout("fid[4] request_mask[8]", linux=True)),
    Rgetattr: (
        25,
        Layout(
            "valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8] blksize[8] blocks[8]"
            " atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8] ctime_sec[8] ctime_nsec[8]"
            " btime_sec[8] btime_nsec[8] gen[8] data_version[8]",
            linux=True,
        ),
    ),
    Tsetattr: (
        26,
        Layout(
            "fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8]",
            linux=True,
        ),
    ),
    Rsetattr: (27, Layout("", linux=True)),
    Txattrwalk: (30, Layout("fid[4] newfid[4] name[s]", linux=True)),
    Rxattrwalk: (31, Layout("size[8]", linux=True)),
    Txattrcreate: (32, Layout("fid[4] name[s] attr_size[8] flags[4]", linux=True)),
    Rxattrcreate: (33, Layout("", linux=True)),
    Treaddir: (40, Layout("fid[4] offset[8] count[4]", linux=True)),
    Rreaddir: (41, Layout("count[4] data[count]", linux=True)),
    Tfsync: (50, Layout("fid[4] datasync[4]", linux=True)),
    Rfsync: (51, Layout("", linux=True)),
    Tlock: (52, Layout("fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s]", linux=True)),
    Rlock: (53, Layout("status[1]", linux=True)),
    Tgetlock: (54, Layout("fid[4] type[1] start[8] length[8] proc_id[4] client_id[s]", linux=True)),
    Rgetlock: (55, Layout("type[1] start[8] length[8] proc_id[4] client_id[s]", linux=True)),
    Tlink: (70, Layout("dfid[4] fid[4] name[s]", linux=True)),
    Rlink: (71, Layout("", linux=True)),
    Tmkdir: (72, Layout("dfid[4] name[s] mode[4] gid[4]", linux=True)),
    Rmkdir: (73, Layout("qid[13]", linux=True)),
    Trenameat: (74, Layout("olddirfid[4] oldname[s] newdirfid[4] newname[s]", linux=True)),
    Rrenameat: (75, Layout("", linux=True)),
    Tunlinkat: (76, Layout("dirfd[4] name[s] flags[4]", linux=True)),
    Runlinkat: (77, Layout("", linux=True)),
}
