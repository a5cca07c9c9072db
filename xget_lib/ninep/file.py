"""What a server's side asks of a tree of files, which knows files and no protocol.

`File` and `Handle` are protocols: any class with these methods will do. `PlainFile` and `PlainHandle` are for trees of
9P's own kind, which know nothing of links and of what else only Linux has.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Protocol

from xget_lib.errors import NinepError
from xget_lib.ninep.attributes import Attributes, FileSystem, of_stat
from xget_lib.ninep.stat import Stat
from xget_lib.ninep.wire import QTDIR, Qid


@dataclass(frozen=True, slots=True)
class Content:
    """`length` bytes that the connection sends by itself, from `source`. Whoever takes the Reply owns the source: a
    read is only carried out when its reply is taken, so nothing drops it before, and it may hold open descriptors."""

    length: int
    source: object


class Waiting(Enum):
    """What a read answers that has nothing yet: ask again at the next retry()."""

    WAITING = "waiting"


WAITING = Waiting.WAITING

DT_DIR = 4  # readdir(3); dirent.h
DT_REG = 8


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A name in a directory: with a cookie, from which reading can go on behind it, and a type as readdir(3) has it
    (DT_REG and so on)."""

    name: str
    qid: Qid
    cookie: int
    type: int


class File(Protocol):
    """A place in a tree: cheap, immutable. What it raises (XGetError, OSError) becomes an Rerror."""

    @property
    def qid(self) -> Qid: ...

    def walk(self, name: str) -> File:
        """The file of that name in this directory. Never asked for "", ".", ".." or a name with a slash."""

    def stat(self) -> Stat: ...

    def open(self, mode: int) -> Handle:
        """For `mode` OREAD, OWRITE, ORDWR or OEXEC, with OTRUNC perhaps. A directory is only opened for reading."""

    # Asked in 9P2000.L alone.

    def attributes(self) -> Attributes: ...

    def readlink(self) -> str:
        """Where a symbolic link leads, as `os.fsdecode` has it."""

    def file_system(self) -> FileSystem: ...

    def xattr(self, name: str) -> bytes:
        """The value of an extended attribute; for "", the names of all, each with a NUL behind it."""


class Handle(Protocol):
    """A file opened by one fid. What it raises (XGetError, OSError) becomes an Rerror, except for clunk()."""

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        """At most `count` bytes from `offset`, a stranger's number below 2**64; none at the end of the file."""

    def write(self, offset: int, data: bytes) -> int:
        """How many bytes were written."""

    def children(self) -> Iterable[Stat]:
        """A directory's entries, from the first one on. Asked instead of read(), and lazily."""

    def entries(self, cookie: int) -> Iterator[DirectoryEntry]:
        """The names in a directory behind the one with this cookie; 0: from the first one on. Lazily. Asked in
        9P2000.L instead of children(); with "." and ".." where the tree has them."""

    def clunk(self) -> None:
        """The fid is gone; called once, whichever way it went. Nobody is left to hear of a failure: raises nothing."""


class PlainFile:
    """What Linux asks of a file of 9P's own kind."""

    __slots__ = ()

    def attributes(self: File) -> Attributes:
        return of_stat(self.stat())

    def readlink(self) -> str:
        raise NinepError(errno.EINVAL)

    def file_system(self) -> FileSystem:
        return FileSystem()

    def xattr(self, name: str) -> bytes:
        raise NinepError(errno.EOPNOTSUPP)


class PlainHandle:
    """What Linux asks of an opened directory of 9P's own kind. Its cookies are numbers of entries."""

    __slots__ = ()

    def entries(self: Handle, cookie: int) -> Iterator[DirectoryEntry]:
        for number, stat in enumerate(islice(self.children(), min(cookie, sys.maxsize), None), start=cookie + 1):
            kind = DT_DIR if stat.qid.type & QTDIR else DT_REG
            yield DirectoryEntry(stat.name, stat.qid, number, kind)
