"""What a server's side asks of a tree of files, which knows files and no protocol.

`File` and `Handle` are protocols: any class with these methods will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from xget_lib.ninep.stat import Stat
from xget_lib.ninep.wire import Qid


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


class File(Protocol):
    """A place in a tree: cheap, immutable. What it raises (XGetError, OSError) becomes an Rerror."""

    @property
    def qid(self) -> Qid: ...

    def walk(self, name: str) -> File:
        """The file of that name in this directory. Never asked for "", ".", ".." or a name with a slash."""

    def stat(self) -> Stat: ...

    def open(self, mode: int) -> Handle:
        """For `mode` OREAD, OWRITE, ORDWR or OEXEC, with OTRUNC perhaps. A directory is only opened for reading."""


class Handle(Protocol):
    """A file opened by one fid. What it raises (XGetError, OSError) becomes an Rerror, except for clunk()."""

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        """At most `count` bytes from `offset`, a stranger's number below 2**64; none at the end of the file."""

    def write(self, offset: int, data: bytes) -> int:
        """How many bytes were written."""

    def children(self) -> Iterable[Stat]:
        """A directory's entries, from the first one on. Asked instead of read(), and lazily."""

    def clunk(self) -> None:
        """The fid is gone; called once, whichever way it went. Nobody is left to hear of a failure: raises nothing."""
