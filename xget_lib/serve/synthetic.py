"""Files that exist only in the server, such as control files. Their content is made when they are read.

A namespace is a tree of `SyntheticFile`s. Each makes a handle when it is opened. The handles here are the common kinds:
a fixed text, a text that the server must look up first, and a stream of documents.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError, XGetError, printable
from xget_lib.ninep import messages
from xget_lib.ninep.file import WAITING, Content, File, Handle, Waiting
from xget_lib.ninep.stat import DMDIR, Stat
from xget_lib.ninep.wire import QTDIR, QTFILE, Qid
from xget_lib.swarm.messages import LINE_LIMIT

OWNER = "xget"


class Text(Handle):
    """A text that is known when the file is opened."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def read(self, offset: int, count: int) -> bytes:
        return self._text[offset : offset + count]


class Log(Text):
    """Lines that are written here go to `remark`, which writes them to the log. `text` is what is read."""

    def __init__(self, text: bytes, remark: Callable[[str], None]) -> None:
        super().__init__(text)
        self._remark = remark

    def write(self, offset: int, data: bytes) -> int:
        self._remark(printable(data[:LINE_LIMIT].strip(b"\0\n ")))
        return len(data)


class DeferredText(Handle):
    """A text that the server looks up at the first read. All reads wait for it and then get the same text."""

    def __init__(self, ask: Callable[[DeferredText], None]) -> None:
        """`ask(self)` is called at the first read. It calls `put` or `fail`, then or later."""
        self._ask = ask
        self._asked = False
        self._text: bytes | None = None
        self._error: Exception | None = None

    def put(self, text: bytes) -> None:
        self._text = text

    @property
    def kept(self) -> int:
        return len(self._text or b"")

    def fail(self, error: XGetError | OSError) -> None:
        """Answer all reads with this error."""
        self._error = error

    def read(self, offset: int, count: int) -> bytes | Waiting:
        if not self._asked:
            self._asked = True
            self._ask(self)
        if self._error is not None:
            raise self._error
        return WAITING if self._text is None else self._text[offset : offset + count]


class Stream(Handle):
    """Documents one after another, at any offset. A read waits for the next document."""

    def __init__(self) -> None:
        self._documents: deque[bytes] = deque()
        self._rest = b""  # of the document that the last read began

    @property
    def begun(self) -> bool:
        """Whether a document has been read only in part."""
        return bool(self._rest)

    @property
    def kept(self) -> int:
        return len(self._rest) + sum(map(len, self._documents))

    def put(self, document: bytes) -> None:
        """Add a document at the end."""
        self._documents.append(document)

    def replace(self, document: bytes) -> None:
        """Add a document in place of all that have not been read, not even in part."""
        self._documents.clear()
        self._documents.append(document)

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        if not self._rest:
            if not self._documents:
                return WAITING
            self._rest = self._documents.popleft()
        data, self._rest = self._rest[:count], self._rest[count:]
        return data


class Directory(Handle):
    """A directory whose entries are made when it is read."""

    def __init__(self, children: Callable[[], Iterable[Stat]]) -> None:
        self._children = children

    def children(self) -> Iterable[Stat]:
        return self._children()


@dataclass(frozen=True)
class SyntheticFile(File):
    """A file, or a directory (`root`)."""

    name: str
    number: int
    """Unique within the tree: the path of its qid."""
    mode: int
    opened: Callable[[], Handle]
    """Makes a handle."""
    length: Callable[[], int] = lambda: 0
    files: Mapping[str, SyntheticFile] | None = None
    """By name: what a directory contains; None for a file."""

    @property
    def qid(self) -> Qid:
        return Qid(QTFILE if self.files is None else QTDIR, 1, self.number)

    def walk(self, name: str) -> File:
        if self.files is None:
            raise NinepError(errno.ENOTDIR)
        if name not in self.files:
            raise NinepError(errno.ENOENT)
        return self.files[name]

    def stat(self) -> Stat:
        kind = 0 if self.files is None else DMDIR
        return Stat(
            qid=self.qid,
            mode=self.mode | kind,
            atime=0,
            mtime=0,
            length=self.length(),
            name=self.name,
            uid=OWNER,
            gid=OWNER,
            muid=OWNER,
        )

    def open(self, mode: int) -> Handle:
        check_mode(mode, self.mode)
        return self.opened()


def check_mode(mode: int, permissions: int) -> None:
    """Raise NinepError unless a file with these permissions may be opened in this mode (open(5))."""
    access = mode & messages.ACCESS
    if mode & messages.ORCLOSE or (mode & messages.OTRUNC and not permissions & 0o222):
        raise NinepError(errno.EROFS)
    if access in (messages.OWRITE, messages.ORDWR) and not permissions & 0o222:
        raise NinepError(errno.EROFS)
    if access in (messages.OREAD, messages.ORDWR, messages.OEXEC) and not permissions & 0o444:
        raise NinepError(errno.EACCES)


def root(files: Iterable[SyntheticFile]) -> SyntheticFile:
    """The root directory of a synthetic tree."""
    found = {file.name: file for file in files}
    listing = Directory(lambda: [file.stat() for file in found.values()])
    return SyntheticFile("/", 0, 0o555, lambda: listing, files=found)
