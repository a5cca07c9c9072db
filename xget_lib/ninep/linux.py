"""The messages of 9P2000.L: Linux's own calls, as they travel.

The types are those of the kernel's include/net/9p/9p.h, layouts and meanings those of diod's protocol description
(protocol.md in its sources). Of 9P2000 remain the messages that mean the same here; Topen, Tcreate, Tstat, Twstat and
Rerror have others in their place. Strings are names of Linux: any bytes but NUL.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from xget_lib.ninep import messages
from xget_lib.ninep.messages import MESSAGES, NINEP2000_U, RMessage, Table, TMessage
from xget_lib.ninep.wire import Layout, Qid

# What Tlopen asks for: the flags of open(2) in the kernel's generic numbers, whatever the machine's own are.
P9_ACCESS = 0o3
P9_TRUNC = 0o1000
P9_DIRECTORY = 0o200000

GETATTR_BASIC = 0x7FF  # what stat(2) knows: all but time of birth, generation and data version
V9FS_MAGIC = 0x01021997  # the type of file system in Rstatfs: linux/magic.h


@dataclass(slots=True)
class Rlerror(RMessage):
    is_error = True

    ecode: int


@dataclass(slots=True)
class Tstatfs(TMessage):
    fid: int


@dataclass(slots=True)
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


@dataclass(slots=True)
class Tlopen(TMessage):
    fid: int
    flags: int


@dataclass(slots=True)
class Rlopen(RMessage):
    qid: Qid
    iounit: int


@dataclass(slots=True)
class Tlcreate(TMessage):
    fid: int
    name: str
    flags: int
    mode: int
    gid: int


@dataclass(slots=True)
class Rlcreate(RMessage):
    qid: Qid
    iounit: int


@dataclass(slots=True)
class Tsymlink(TMessage):
    dfid: int
    name: str
    symtgt: str
    gid: int


@dataclass(slots=True)
class Rsymlink(RMessage):
    qid: Qid


@dataclass(slots=True)
class Tmknod(TMessage):
    dfid: int
    name: str
    mode: int
    major: int
    minor: int
    gid: int


@dataclass(slots=True)
class Rmknod(RMessage):
    qid: Qid


@dataclass(slots=True)
class Trename(TMessage):
    fid: int
    dfid: int
    name: str


@dataclass(slots=True)
class Rrename(RMessage):
    pass


@dataclass(slots=True)
class Treadlink(TMessage):
    fid: int


@dataclass(slots=True)
class Rreadlink(RMessage):
    target: str


@dataclass(slots=True)
class Tgetattr(TMessage):
    fid: int
    request_mask: int


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
class Rsetattr(RMessage):
    pass


@dataclass(slots=True)
class Txattrwalk(TMessage):
    fid: int
    newfid: int
    name: str


@dataclass(slots=True)
class Rxattrwalk(RMessage):
    size: int


@dataclass(slots=True)
class Txattrcreate(TMessage):
    fid: int
    name: str
    attr_size: int
    flags: int


@dataclass(slots=True)
class Rxattrcreate(RMessage):
    pass


@dataclass(slots=True)
class Treaddir(TMessage):
    fid: int
    offset: int
    count: int


@dataclass(slots=True)
class Rreaddir(RMessage):
    data: bytes


@dataclass(slots=True)
class Tfsync(TMessage):
    fid: int
    datasync: int = 0


@dataclass(slots=True)
class Rfsync(RMessage):
    pass


@dataclass(slots=True)
class Tlock(TMessage):
    fid: int
    type: int
    flags: int
    start: int
    length: int
    proc_id: int
    client_id: str


@dataclass(slots=True)
class Rlock(RMessage):
    status: int


@dataclass(slots=True)
class Tgetlock(TMessage):
    fid: int
    type: int
    start: int
    length: int
    proc_id: int
    client_id: str


@dataclass(slots=True)
class Rgetlock(RMessage):
    type: int
    start: int
    length: int
    proc_id: int
    client_id: str


@dataclass(slots=True)
class Tlink(TMessage):
    dfid: int
    fid: int
    name: str


@dataclass(slots=True)
class Rlink(RMessage):
    pass


@dataclass(slots=True)
class Tmkdir(TMessage):
    dfid: int
    name: str
    mode: int
    gid: int


@dataclass(slots=True)
class Rmkdir(RMessage):
    qid: Qid


@dataclass(slots=True)
class Trenameat(TMessage):
    olddirfid: int
    oldname: str
    newdirfid: int
    newname: str


@dataclass(slots=True)
class Rrenameat(RMessage):
    pass


@dataclass(slots=True)
class Tunlinkat(TMessage):
    dirfd: int
    name: str
    flags: int


@dataclass(slots=True)
class Runlinkat(RMessage):
    pass


_layout = partial(Layout, linux=True)

_REPLACED = (
    *(messages.Rerror, messages.Topen, messages.Ropen, messages.Tcreate, messages.Rcreate),
    *(messages.Tstat, messages.Rstat, messages.Twstat, messages.Rwstat),
)

TABLE: Table = {
    **{
        message: (number, _layout(layout.synopsis))
        for message, (number, layout) in MESSAGES[NINEP2000_U].items()
        if message not in _REPLACED
    },
    Rlerror: (7, _layout("ecode[4]")),
    Tstatfs: (8, _layout("fid[4]")),
    Rstatfs: (
        9,
        _layout(
            "type[4] bsize[4] blocks[8] bfree[8] bavail[8] files[8] ffree[8] fsid[8] namelen[4]",
        ),
    ),
    Tlopen: (12, _layout("fid[4] flags[4]")),
    Rlopen: (13, _layout("qid[13] iounit[4]")),
    Tlcreate: (14, _layout("fid[4] name[s] flags[4] mode[4] gid[4]")),
    Rlcreate: (15, _layout("qid[13] iounit[4]")),
    Tsymlink: (16, _layout("dfid[4] name[s] symtgt[s] gid[4]")),
    Rsymlink: (17, _layout("qid[13]")),
    Tmknod: (18, _layout("dfid[4] name[s] mode[4] major[4] minor[4] gid[4]")),
    Rmknod: (19, _layout("qid[13]")),
    Trename: (20, _layout("fid[4] dfid[4] name[s]")),
    Rrename: (21, _layout("")),
    Treadlink: (22, _layout("fid[4]")),
    Rreadlink: (23, _layout("target[s]")),
    Tgetattr: (24, _layout("fid[4] request_mask[8]")),
    Rgetattr: (
        25,
        _layout(
            "valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8] blksize[8] blocks[8]"
            " atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8] ctime_sec[8] ctime_nsec[8]"
            " btime_sec[8] btime_nsec[8] gen[8] data_version[8]",
        ),
    ),
    Tsetattr: (
        26,
        _layout(
            "fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8]",
        ),
    ),
    Rsetattr: (27, _layout("")),
    Txattrwalk: (30, _layout("fid[4] newfid[4] name[s]")),
    Rxattrwalk: (31, _layout("size[8]")),
    Txattrcreate: (32, _layout("fid[4] name[s] attr_size[8] flags[4]")),
    Rxattrcreate: (33, _layout("")),
    Treaddir: (40, _layout("fid[4] offset[8] count[4]")),
    Rreaddir: (41, _layout("count[4] data[count]")),
    Tfsync: (50, _layout("fid[4] datasync[4]")),
    Rfsync: (51, _layout("")),
    Tlock: (52, _layout("fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s]")),
    Rlock: (53, _layout("status[1]")),
    Tgetlock: (54, _layout("fid[4] type[1] start[8] length[8] proc_id[4] client_id[s]")),
    Rgetlock: (55, _layout("type[1] start[8] length[8] proc_id[4] client_id[s]")),
    Tlink: (70, _layout("dfid[4] fid[4] name[s]")),
    Rlink: (71, _layout("")),
    Tmkdir: (72, _layout("dfid[4] name[s] mode[4] gid[4]")),
    Rmkdir: (73, _layout("qid[13]")),
    Trenameat: (74, _layout("olddirfid[4] oldname[s] newdirfid[4] newname[s]")),
    Rrenameat: (75, _layout("")),
    Tunlinkat: (76, _layout("dirfd[4] name[s] flags[4]")),
    Runlinkat: (77, _layout("")),
}
