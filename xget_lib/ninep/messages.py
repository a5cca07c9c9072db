"""The messages of 9P2000 and 9P2000.u: a T-message is a request, the R-message with the same tag is its reply.

Each message is stated once: its type, and its fields in the order in which they travel (`wire` says how). The header,
size[4] type[1] tag[2], is not part of it. Names, types and order are those of the manual, section 5: intro(5) and the
pages around it. `Unix[...]` marks what 9P2000.u adds: a number beside each user name, an errno beside each error text
(http://ericvh.github.io/9p-rfc/rfc9p2000.u.html).

The messages of 9P2000.L alone are in `linux`; `dialect` says which dialect has which messages.

This module does not import annotations from __future__: `Layout.of` reads them as objects.
"""

from struct import Struct
from typing import dataclass_transform

from xget_lib.dataclass import dataclass
from xget_lib.ninep.wire import Unix, data2, data4, qid13, qids, text, texts, u8, u16, u32, u64

MIN_MSIZE = 4096  # less would not carry every reply that must fit whole, such as a walk's or a directory entry
IOHDRSZ = 24  # room for the header of a Twrite or Rread: what a client subtracts from msize when iounit is 0
DEFAULT_MSIZE = 1024 * 1024 + IOHDRSZ
NONUNAME = 0xFFFFFFFF  # no number: the name identifies the user

# Modes of Topen and Tcreate: open(5).
OREAD = 0
OWRITE = 1
ORDWR = 2
OEXEC = 3
ACCESS = 3  # mask of these four
OTRUNC = 0x10
ORCLOSE = 0x40


@dataclass_transform()
class Message:
    """Base of all messages. `class Tread(TMessage, number=116)` becomes a dataclass that travels as type 116."""

    number: int
    """type[1]; odd for a reply."""
    is_error = False
    """Whether it says that a request was refused."""

    def __init_subclass__(cls, number: int | None = None) -> None:
        if number is not None:
            cls.number = number
        dataclass(cls)


class TMessage(Message):
    """A request."""


class RMessage(Message):
    """A reply."""


class Tversion(TMessage, number=100):
    msize: u32
    version: text


class Rversion(RMessage, number=101):
    msize: u32
    version: text


class Tauth(TMessage, number=102):
    afid: u32
    uname: text
    aname: text
    n_uname: Unix[u32] = NONUNAME


class Rauth(RMessage, number=103):
    aqid: qid13


class Tattach(TMessage, number=104):
    fid: u32
    afid: u32
    uname: text
    aname: text
    n_uname: Unix[u32] = NONUNAME


class Rattach(RMessage, number=105):
    qid: qid13


# 106 would be Terror, which is illegal: no request is for an error.


class Rerror(RMessage, number=107):
    is_error = True

    ename: text
    errno: Unix[u32] = 0


class Tflush(TMessage, number=108):
    oldtag: u16


class Rflush(RMessage, number=109):
    pass


class Twalk(TMessage, number=110):
    fid: u32
    newfid: u32
    wname: texts


class Rwalk(RMessage, number=111):
    wqid: qids


class Topen(TMessage, number=112):
    fid: u32
    mode: u8


class Ropen(RMessage, number=113):
    qid: qid13
    iounit: u32


class Tcreate(TMessage, number=114):
    fid: u32
    name: text
    perm: u32
    mode: u8
    extension: Unix[text] = ""


class Rcreate(RMessage, number=115):
    qid: qid13
    iounit: u32


class Tread(TMessage, number=116):
    fid: u32
    offset: u64
    count: u32


class Rread(RMessage, number=117):
    data: data4


class Twrite(TMessage, number=118):
    fid: u32
    offset: u64
    data: data4


class Rwrite(RMessage, number=119):
    count: u32


class Tclunk(TMessage, number=120):
    fid: u32


class Rclunk(RMessage, number=121):
    pass


class Tremove(TMessage, number=122):
    fid: u32


class Rremove(RMessage, number=123):
    pass


class Tstat(TMessage, number=124):
    fid: u32


class Rstat(RMessage, number=125):
    stat: data2  # Stat.unpack reads it


class Twstat(TMessage, number=126):
    fid: u32
    stat: data2


class Rwstat(RMessage, number=127):
    pass


_RREAD_HEADER = Struct("<IBHI")  # size[4] Rread tag[2] count[4]
RREAD_HEADER_SIZE = _RREAD_HEADER.size


def rread_header(tag: int, count: int) -> bytes:
    """The bytes before the `count` bytes of an Rread whose data is sent by itself. The same in every dialect."""
    return _RREAD_HEADER.pack(_RREAD_HEADER.size + count, Rread.number, tag, count)


def is_reply_to(reply: Message, request: TMessage) -> bool:
    """Whether `reply` may answer `request`: its type is one greater, or it is an error, which Tflush never gets:
    flush(5)."""
    if reply.is_error:
        return not isinstance(request, Tflush)
    return reply.number == request.number + 1
