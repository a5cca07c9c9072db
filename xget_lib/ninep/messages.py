"""The messages of 9P: a T-message asks, the R-message with the same tag answers.

A message is a dataclass in the words of the manual's section 5, without size, type and tag, which belong to the
way it travels. `MESSAGES` says, for each dialect, which messages there are, their type and their layout: the manual's
table, and the only place where these facts stand. A field that only some dialects have comes last in its dataclass and
with a default.

    9P2000      intro(5) and the pages around it, as Plan 9 has them
    9P2000.u    the same with numbers beside names, errno beside texts: http://ericvh.github.io/9p-rfc/rfc9p2000.u.html
    9P2000.L    Linux's own calls, in `linux`, which is only loaded when somebody speaks it
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from struct import Struct
from typing import ClassVar

from xget_lib.errors import ProtocolViolation
from xget_lib.ninep.wire import HEADER, Buffer, Layout, Qid

NINEP2000 = "9P2000"
NINEP2000_U = "9P2000.u"
NINEP2000_L = "9P2000.L"
UNKNOWN = "unknown"  # the version with which a server answers one that it does not understand

MIN_MSIZE = 4096  # less would not carry every reply that must fit whole, such as a walk's or a directory entry
IOHDRSZ = 24  # room for the header of a Twrite or Rread: what a client subtracts from msize when iounit is 0
DEFAULT_MSIZE = 1024 * 1024 + IOHDRSZ
C_CLIENT_MSIZE = 32 * 1024 + IOHDRSZ  # what the C xget of XCPU 1.2 offers
NONUNAME = 0xFFFFFFFF  # no number: the name says who it is

# Modes of Topen and Tcreate: open(5).
OREAD = 0
OWRITE = 1
ORDWR = 2
OEXEC = 3
ACCESS = 3  # mask of these four
OTRUNC = 0x10
OCEXEC = 0x20
ORCLOSE = 0x40


class Message:
    __slots__ = ()
    is_error = False
    """Whether it says that a request was refused."""


class TMessage(Message):
    """A request."""

    __slots__ = ()


class RMessage(Message):
    """A reply."""

    __slots__ = ()


@dataclass(slots=True)
class Tversion(TMessage):
    msize: int
    version: str


@dataclass(slots=True)
class Rversion(RMessage):
    msize: int
    version: str


@dataclass(slots=True)
class Tauth(TMessage):
    afid: int
    uname: str
    aname: str
    n_uname: int = NONUNAME


@dataclass(slots=True)
class Rauth(RMessage):
    aqid: Qid


@dataclass(slots=True)
class Tattach(TMessage):
    fid: int
    afid: int
    uname: str
    aname: str
    n_uname: int = NONUNAME


@dataclass(slots=True)
class Rattach(RMessage):
    qid: Qid


@dataclass(slots=True)
class Rerror(RMessage):
    is_error = True

    ename: str
    errno: int = 0


@dataclass(slots=True)
class Tflush(TMessage):
    oldtag: int


@dataclass(slots=True)
class Rflush(RMessage):
    pass


@dataclass(slots=True)
class Twalk(TMessage):
    fid: int
    newfid: int
    wname: tuple[str, ...]


@dataclass(slots=True)
class Rwalk(RMessage):
    wqid: tuple[Qid, ...]


@dataclass(slots=True)
class Topen(TMessage):
    fid: int
    mode: int


@dataclass(slots=True)
class Ropen(RMessage):
    qid: Qid
    iounit: int


@dataclass(slots=True)
class Tcreate(TMessage):
    fid: int
    name: str
    perm: int
    mode: int
    extension: str = ""


@dataclass(slots=True)
class Rcreate(RMessage):
    qid: Qid
    iounit: int


@dataclass(slots=True)
class Tread(TMessage):
    fid: int
    offset: int
    count: int


@dataclass(slots=True)
class Rread(RMessage):
    data: bytes


@dataclass(slots=True)
class Twrite(TMessage):
    fid: int
    offset: int
    data: bytes


@dataclass(slots=True)
class Rwrite(RMessage):
    count: int


@dataclass(slots=True)
class Tclunk(TMessage):
    fid: int


@dataclass(slots=True)
class Rclunk(RMessage):
    pass


@dataclass(slots=True)
class Tremove(TMessage):
    fid: int


@dataclass(slots=True)
class Rremove(RMessage):
    pass


@dataclass(slots=True)
class Tstat(TMessage):
    fid: int


@dataclass(slots=True)
class Rstat(RMessage):
    stat: bytes  # Stat.unpack reads it


@dataclass(slots=True)
class Twstat(TMessage):
    fid: int
    stat: bytes


@dataclass(slots=True)
class Rwstat(RMessage):
    pass


Table = Mapping[type[Message], tuple[int, Layout]]
"""Of one dialect: each of its messages, with its type and its layout."""

# intro(5). 106 would be Terror, which is illegal: nobody asks for an error.
_PLAIN: Table = {
    Tversion: (100, Layout("msize[4] version[s]")),
    Rversion: (101, Layout("msize[4] version[s]")),
    Tauth: (102, Layout("afid[4] uname[s] aname[s]")),
    Rauth: (103, Layout("aqid[13]")),
    Tattach: (104, Layout("fid[4] afid[4] uname[s] aname[s]")),
    Rattach: (105, Layout("qid[13]")),
    Rerror: (107, Layout("ename[s]")),
    Tflush: (108, Layout("oldtag[2]")),
    Rflush: (109, Layout("")),
    Twalk: (110, Layout("fid[4] newfid[4] nwname[2] nwname*(wname[s])")),
    Rwalk: (111, Layout("nwqid[2] nwqid*(wqid[13])")),
    Topen: (112, Layout("fid[4] mode[1]")),
    Ropen: (113, Layout("qid[13] iounit[4]")),
    Tcreate: (114, Layout("fid[4] name[s] perm[4] mode[1]")),
    Rcreate: (115, Layout("qid[13] iounit[4]")),
    Tread: (116, Layout("fid[4] offset[8] count[4]")),
    Rread: (117, Layout("count[4] data[count]")),
    Twrite: (118, Layout("fid[4] offset[8] count[4] data[count]")),
    Rwrite: (119, Layout("count[4]")),
    Tclunk: (120, Layout("fid[4]")),
    Rclunk: (121, Layout("")),
    Tremove: (122, Layout("fid[4]")),
    Rremove: (123, Layout("")),
    Tstat: (124, Layout("fid[4]")),
    Rstat: (125, Layout("stat[n]")),
    Twstat: (126, Layout("fid[4] stat[n]")),
    Rwstat: (127, Layout("")),
}

# What differs in 9P2000.u: users have numbers too, errors an errno, and what is created may be a link or a device.
_UNIX: Table = {
    **_PLAIN,
    Tauth: (102, Layout("afid[4] uname[s] aname[s] n_uname[4]")),
    Tattach: (104, Layout("fid[4] afid[4] uname[s] aname[s] n_uname[4]")),
    Rerror: (107, Layout("ename[s] errno[4]")),
    Tcreate: (114, Layout("fid[4] name[s] perm[4] mode[1] extension[s]")),
}


class _Tables(Mapping[str, Table]):
    """The table of each dialect. That of Linux, which most servers are never asked for, is made when it is."""

    _made: ClassVar = {NINEP2000: _PLAIN, NINEP2000_U: _UNIX}
    _all = (NINEP2000, NINEP2000_U, NINEP2000_L)

    def __getitem__(self, dialect: str) -> Table:
        if dialect == NINEP2000_L and dialect not in self._made:
            from xget_lib.ninep import linux

            self._made[dialect] = linux.TABLE
        return self._made[dialect]

    def __contains__(self, dialect: object) -> bool:
        return dialect in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


MESSAGES: Mapping[str, Table] = _Tables()

RREAD = MESSAGES[NINEP2000][Rread][0]
_RREAD_HEADER = Struct("<IBHI")  # size[4] Rread tag[2] count[4]
RREAD_HEADER_SIZE = _RREAD_HEADER.size


@cache
def _by_type(dialect: str) -> dict[int, tuple[type[Message], Layout]]:
    for message, (_, layout) in MESSAGES[dialect].items():
        # decode() fills the fields by position, so the table and the dataclass must agree.
        names = tuple(field.name for field in fields(message))  # type: ignore[arg-type]
        assert layout.names == names[: len(layout.names)], message
    return {number: (message, layout) for message, (number, layout) in MESSAGES[dialect].items()}


def decode(frame: Buffer, dialect: str) -> tuple[int, Message]:
    """The tag and the message of one whole frame. Raises ProtocolViolation, which says what is wrong with it."""
    if len(frame) < HEADER.size:
        raise ProtocolViolation(f"{len(frame)} bytes are no message")
    size, number, tag = HEADER.unpack_from(frame)
    if size != len(frame):
        raise ProtocolViolation(f"a message of {size} bytes in a frame of {len(frame)}")
    try:
        message, layout = _by_type(dialect)[number]
    except KeyError:
        raise ProtocolViolation(f"message type {number} is not of {dialect}") from None
    try:
        return tag, message(*layout.unpack(frame, HEADER.size))
    except ProtocolViolation as violation:
        raise ProtocolViolation(f"malformed {message.__name__}: {violation}") from None


def tag_of(frame: Buffer) -> int:
    """The tag of a frame that has a whole header, also where the rest of it is malformed."""
    _, _, tag = HEADER.unpack_from(frame)
    return int(tag)


def encode(tag: int, message: Message, dialect: str) -> bytes:
    """The whole frame. Raises NinepError for what the dialect cannot carry, such as a string that is not UTF-8."""
    number, layout = MESSAGES[dialect][type(message)]
    parts = layout.pack(message)
    return b"".join([HEADER.pack(HEADER.size + sum(map(len, parts)), number, tag), *parts])


def rread_header(tag: int, count: int) -> bytes:
    """What goes before the `count` bytes of an Rread whose data travels by itself. The same in every dialect."""
    return _RREAD_HEADER.pack(_RREAD_HEADER.size + count, RREAD, tag, count)


def is_reply_to(reply: Message, request: TMessage, dialect: str) -> bool:
    """Whether `reply` may answer `request`: its type is one greater, or Rerror, which Tflush never gets: flush(5)."""
    numbers = MESSAGES[dialect]
    if reply.is_error:
        return not isinstance(request, Tflush)
    return numbers[type(reply)][0] == numbers[type(request)][0] + 1


def negotiate(version: str, msize: int) -> str | None:
    """The dialect with which to answer `version`, None where it is none that we could ever agree on: version(5).

    What follows a period names a variant, and a server may answer with the plain protocol, or an earlier one. That is
    what C clients have always been answered, though they offer 9P2000.u: by `msize` one knows them.
    """
    if (version, msize) == (NINEP2000_U, C_CLIENT_MSIZE):
        return NINEP2000
    if version in MESSAGES:
        return version
    number = re.fullmatch(r"9P([0-9]{4,9})", version.partition(".")[0], re.ASCII)
    return NINEP2000 if number and int(number[1]) >= 2000 else None
