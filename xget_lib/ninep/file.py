"""What a session asks of a tree of files, which knows files and no protocol.

A tree is made of `File`s; opening one gives a `Handle`. Both have a default answer for what most trees do not support,
so a class overrides only what is different.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import NamedTuple, Protocol

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError
from xget_lib.ninep.attributes import Attributes, FileSystem, of_stat
from xget_lib.ninep.stat import DirectoryEntry, Stat
from xget_lib.ninep.wire import QTDIR, Qid


class OpenExtent(NamedTuple):
    """`length` bytes at `offset` of an open file. Whoever gets it closes `fd`."""

    fd: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Content:
    """The data of an Rread, `length` bytes that the connection sends by itself: `source`, or what it returns when the
    reply is about to be sent. Then it may raise XGetError or OSError, which becomes an error reply."""

    length: int
    source: bytes | Callable[[], list[bytes | OpenExtent]]


class Waiting(Enum):
    """The answer of a read that has nothing yet: ask again at the next Session.retry()."""

    WAITING = "waiting"


WAITING = Waiting.WAITING

DT_DIR = 4  # readdir(3); dirent.h
DT_REG = 8


class File(Protocol):
    """A file or directory in a tree: cheap to make, immutable. What it raises (XGetError, OSError) becomes an error
    reply."""

    __slots__ = ()

    @property
    def qid(self) -> Qid: ...

    def walk(self, name: str) -> File:
        """The file of that name in this directory. Never asked for "", ".", ".." or a name with a slash."""
        raise NinepError(errno.ENOTDIR)

    def stat(self) -> Stat: ...

    def open(self, mode: int) -> Handle:
        """For `mode` OREAD, OWRITE, ORDWR or OEXEC, possibly with OTRUNC. A directory is only opened for reading."""

    # Asked in 9P2000.L alone.

    def attributes(self) -> Attributes | os.stat_result:
        return of_stat(self.stat())

    def readlink(self) -> str:
        """The target of a symbolic link, as `os.fsdecode` gives it."""
        raise NinepError(errno.EINVAL)

    def file_system(self) -> FileSystem:
        return FileSystem()

    def xattr(self, name: str) -> bytes:
        """The value of an extended attribute; for "", the names of all, each followed by a NUL."""
        raise NinepError(errno.EOPNOTSUPP)


class Handle:
    """A file opened by one fid. This base class refuses everything; subclasses override what they support.

    What it raises (XGetError, OSError) becomes an error reply, except for clunk().
    """

    __slots__ = ()

    @property
    def kept(self) -> int:
        """Bytes that this handle keeps in memory for its client alone. Asked after each read."""
        return 0

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        """At most `count` bytes from `offset`, a client's number below 2**64; none at the end of the file."""
        raise NinepError(errno.EACCES, "not open for reading")

    def write(self, offset: int, data: bytes) -> int:
        """Return how many bytes were written."""
        raise NinepError(errno.EACCES, "not open for writing")

    def children(self) -> Iterable[Stat]:
        """A directory's entries, from the first one on. Asked instead of read(), and lazily."""
        raise NinepError(errno.ENOTDIR)

    def entries(self, cookie: int) -> Iterator[DirectoryEntry]:
        """The names in a directory after the one with this cookie; 0: from the first one on. Lazily. Asked in
        9P2000.L instead of children(); with "." and ".." if the tree has them. Here cookies are numbers of entries."""
        for number, stat in enumerate(islice(self.children(), min(cookie, sys.maxsize), None), start=cookie + 1):
            kind = DT_DIR if stat.qid.type & QTDIR else DT_REG
            yield DirectoryEntry(stat.qid, number, kind, stat.name)

    def clunk(self) -> None:
        """Release what the handle holds. Called once, however the fid ended. Raises nothing, since no reply could
        carry the error."""
