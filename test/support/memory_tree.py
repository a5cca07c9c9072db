"""A small tree in memory that gives every kind of answer a session can get from a tree.

hello      text                                  secret   may not be opened
image      10,000 bytes, sent as Content         broken   opens, but what is read is not held
news       a further read waits for tell()       many/    directory of 40 files
log        may be written; keeps what was        deep/er/leaf   text, two directories down
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from xget_lib.errors import NinepError, NotHeld
from xget_lib.ninep.dialect import NINEP2000
from xget_lib.ninep.file import DT_DIR, DT_REG, WAITING, Content, File, Handle, Waiting
from xget_lib.ninep.messages import ACCESS, OREAD
from xget_lib.ninep.stat import DMDIR, Stat
from xget_lib.ninep.wire import QTDIR, QTFILE, Qid


class MemoryTree:
    """The tree, and what happened to it: `handles` are all that were ever opened, `log` is what was written."""

    def __init__(self) -> None:
        self.handles: list[MemoryHandle] = []
        self.log: list[bytes] = []
        self.news = b"nothing yet"
        self.dialect = NINEP2000  # of the session that it is seen in
        self.root = MemoryFile(
            self,
            1,
            "/",
            children=(
                Text(self, 2, "hello", text=b"hello, 9P\n"),
                Image(self, 3, "image", text=bytes(at % 251 for at in range(10_000))),
                News(self, 4, "news"),
                Log(self, 5, "log", mode=0o222),
                MemoryFile(self, 6, "secret", mode=0),
                Broken(self, 7, "broken"),
                MemoryFile(
                    self,
                    8,
                    "many",
                    children=tuple(Text(self, 100 + n, f"file{n:02}") for n in range(40)),
                ),
                MemoryFile(
                    self,
                    9,
                    "deep",
                    children=(MemoryFile(self, 10, "er", children=(Text(self, 11, "leaf", text=b"leaf"),)),),
                ),
            ),
        )

    def attach(self, dialect: str, uname: str, aname: str) -> MemoryFile:
        if aname:
            raise NinepError(errno.ENOENT, f"no tree {aname}")
        return self.root

    def find(self, path: str) -> MemoryFile:
        """The file at `path`; the root is "/"."""
        file = self.root
        for name in filter(None, path.split("/")):
            file = file.walk(name)
        return file

    def tell(self, news: bytes) -> None:
        self.news = news


@dataclass(frozen=True)
class MemoryFile(File):
    """A file that can be seen and not opened, or with children, a directory."""

    tree: MemoryTree = field(repr=False)
    path: int
    name: str
    text: bytes = b""
    mode: int = 0o644
    children: tuple[MemoryFile, ...] | None = None

    @property
    def qid(self) -> Qid:
        return Qid(QTFILE if self.children is None else QTDIR, 7, self.path)

    @property
    def kind(self) -> int:
        return DT_REG if self.children is None else DT_DIR

    def walk(self, name: str) -> MemoryFile:
        for child in self.children or ():
            if child.name == name:
                return child
        raise NinepError(errno.ENOENT)

    def stat(self) -> Stat:
        return Stat(
            qid=self.qid,
            mode=self.mode if self.children is None else DMDIR | 0o755,
            atime=1_600_000_000,
            mtime=1_577_934_245,
            length=len(self.text),
            name=self.name,
            uid="glenda",
            gid="sys",
            muid="glenda",
        )

    def open(self, mode: int) -> MemoryHandle:
        if self.children is None:
            raise PermissionError(errno.EACCES, "Permission denied", self.name)
        return self._opened(DirectoryHandle(self))

    def _opened(self, handle: MemoryHandle) -> MemoryHandle:
        self.tree.handles.append(handle)
        return handle


class Text(MemoryFile):
    def open(self, mode: int) -> MemoryHandle:
        if mode & ACCESS != OREAD:
            raise NinepError(errno.EROFS)
        return self._opened(TextHandle(self))


class Image(MemoryFile):
    def open(self, mode: int) -> MemoryHandle:
        return self._opened(ImageHandle(self))


class News(MemoryFile):
    def open(self, mode: int) -> MemoryHandle:
        return self._opened(NewsHandle(self))


class Log(MemoryFile):
    def open(self, mode: int) -> MemoryHandle:
        return self._opened(LogHandle(self))


class Broken(MemoryFile):
    def open(self, mode: int) -> MemoryHandle:
        return self._opened(MemoryHandle(self))


class MemoryHandle(Handle):
    """Refuses everything, and counts its clunks: there must be one in the end."""

    def __init__(self, file: MemoryFile) -> None:
        self.file = file
        self.clunks = 0

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        raise NotHeld(offset, count)

    def write(self, offset: int, data: bytes) -> int:
        raise NinepError(errno.EROFS)

    def children(self) -> Iterable[Stat]:
        raise NinepError(errno.ENOTDIR)

    def clunk(self) -> None:
        self.clunks += 1


class DirectoryHandle(MemoryHandle):
    def children(self) -> Iterator[Stat]:
        for child in self.file.children or ():
            yield child.stat()


class TextHandle(MemoryHandle):
    def read(self, offset: int, count: int) -> bytes:
        return self.file.text[offset : offset + count]


class ImageHandle(MemoryHandle):
    """The source is the bytes themselves, which a real connection would have to fetch."""

    def read(self, offset: int, count: int) -> Content:
        data = self.file.text[offset : offset + count]
        return Content(len(data), data)


class NewsHandle(MemoryHandle):
    told: bytes | None = None

    def read(self, offset: int, count: int) -> bytes | Waiting:
        news = self.file.tree.news
        if news == self.told:
            return WAITING
        self.told = news
        return news[:count]


class LogHandle(MemoryHandle):
    def read(self, offset: int, count: int) -> bytes:
        return b""

    def write(self, offset: int, data: bytes) -> int:
        self.file.tree.log.append(data)
        return len(data)
