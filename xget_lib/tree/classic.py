"""The namespace `classic`: what the C program's server serves, for the clients of XCPU 1.2.

A directory is a directory, and a regular file `p` is a directory `p` too, in which there are

    data       the file's bytes, with its mode, owner, time and length. A range that is still to come is waited for
    redir      where to take the file from: `me`, or `ADDRESS!PORT` of another server that has the same tree
    avail      written: `PORT REDIR` and a NUL. The client serves this file on PORT, and took it from REDIR. That holds
               until the fid is clunked or the connection ends
    checksum   the Adler-32 of the whole file, in decimal

and the root has a file more:

    log        the debug level, in decimal; written: a line for this server's log

What is shown is the generation that is served, not what is on disk now: so a length, the bytes and the checksum belong
together, and a file that has changed is an error. A place keeps its path alone and looks the file up when it is used,
since C clients hold fids for hours: no old generation must stay in memory for that.

Links and special files are not shown, nor names that are no text. Nor is anything called `data` in a directory: a
client takes whatever has a `data` in it for a file, so that one name would cost it the whole directory. And at the top
`log` is the control file, whatever else has that name.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from xget_lib.content.manifest import Entry, Manifest
from xget_lib.content.store import OpenedFile, OpenExtent
from xget_lib.errors import NinepError, NotHeld, StaleGeneration, printable
from xget_lib.ninep.session import WAITING, Content, File, Handle, Waiting
from xget_lib.ninep.stat import DMDIR, Stat
from xget_lib.ninep.wire import QTDIR, QTFILE, Qid
from xget_lib.tree.served import Served
from xget_lib.tree.synthetic import OWNER, Answered, Directory, OpenFile, Text, check_mode

DATA, REDIR, AVAIL, CHECKSUM, LOG = "data", "redir", "avail", "checksum", "log"
_OF_A_FILE = {DATA: 1, REDIR: 2, AVAIL: 3, CHECKSUM: 4}
"""By name: what tells the qid from that of the directory that these are in, and from each other's."""
_NUMBER_OF_LOG = 5
_MODES = {REDIR: 0o444, AVAIL: 0o666, CHECKSUM: 0o444, LOG: 0o222}

ME = b"me"
"""What `redir` says where the file is to be taken from this server."""

LINE_LIMIT = 1024
SMALL = 64 * 1024
"""Bytes up to which a read is answered from memory, for which a change of the file is noticed before anything is sent.
The C client reads 32 KiB at a time, and takes the end of the connection for the end of the file."""

_AVAILABLE = re.compile(rb"([1-9][0-9]{0,4}) (?:me|([0-9A-Za-z.:%_-]{1,80})!([1-9][0-9]{0,4}))\0")


@dataclass(frozen=True, slots=True)
class Available:
    """What a C client writes to `avail`: the port on which it serves the file, and where it takes it from itself."""

    port: int
    source: tuple[str, int] | None
    """Address and port; None for this server."""

    @classmethod
    def decode(cls, written: bytes) -> Available:
        """Raises NinepError."""
        match = _AVAILABLE.fullmatch(written)
        if match is None or not all(int(port) <= 65535 for port in (match[1], match[3] or b"0")):
            raise NinepError(errno.EINVAL, "not `PORT REDIR` and a NUL")
        return cls(int(match[1]), (match[2].decode(), int(match[3])) if match[2] else None)


@dataclass(frozen=True, slots=True)
class Regular:
    """A regular file of one generation."""

    served: Served
    path: bytes
    """One of its names, if it has several."""
    number: int

    @property
    def entry(self) -> Entry:
        return self.served.store.manifest.file(self.number)

    def is_content_of(self, other: Regular) -> bool:
        """Whether both are the same bytes."""
        return (self.entry.size, self.entry.digests) == (other.entry.size, other.entry.digests)

    def key(self) -> bytes:
        """What names this path with this content, also in other generations: 16 bytes."""
        digest = blake3(self.path + b"\0" + self.entry.size.to_bytes(8, "little"))
        return digest.update(self.entry.digests).digest(16)


class Desk(Protocol):
    """What a connection's classic namespace asks of its server. One for each connection."""

    @property
    def served(self) -> Served | None:
        """The newest generation; None while there is none yet."""

    @property
    def debug(self) -> int:
        """The debug level."""

    @property
    def ending(self) -> bool:
        """Whether this server is about to end: nothing is given any more. A C client takes the end of a connection for
        that of the file, so it must be told before."""

    def redirect(self, file: Regular, answer: Answered) -> None:
        """Somebody wants a file: where it is to be taken from goes into the answer."""

    def checksum(self, file: Regular, answer: Answered) -> None:
        """The checksum goes into the answer, or the error because of which there is none."""

    def begin(self, file: Regular) -> None:
        """`data` was opened."""

    def end(self, file: Regular) -> None:
        """`data` was clunked."""

    def taken(self, file: Regular) -> None:
        """Somebody has all of a file, from wherever: its checksum is read."""

    def available(self, avail: int, file: Regular, said: Available) -> None:
        """A client serves a file. `avail` is the number of the open file on which it said so."""

    def unavailable(self, avail: int) -> None:
        """It serves it no more."""

    def remark(self, line: str) -> None:
        """A line for the log."""


def tree(desk: Desk) -> File:
    """The root of the namespace for one connection. Raises NinepError while there is no generation yet."""
    tree = Tree(desk)
    tree.served()
    return PlainDirectory(tree, b"")


class Tree:
    """What all places of one connection's tree share: looking files up in the newest generation."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def served(self) -> Served:
        if self.desk.served is None:
            raise NinepError(errno.EAGAIN, "the snapshot is not ready yet")
        return self.desk.served

    @property
    def manifest(self) -> Manifest:
        return self.served().store.manifest

    def look(self, path: bytes) -> PlainDirectory | FileDirectory:
        """The directory, or file as a directory, at a path. Raises NinepError where none is shown."""
        index = self.manifest.find(path)
        if index is None or not self.served().shows(index):
            raise NinepError(errno.ENOENT)
        kind = self.manifest.entries[index].kind
        if kind not in _SHOWN:
            raise NinepError(errno.ENOENT, "neither a file nor a directory")
        return _SHOWN[kind](self, path)

    def file(self, path: bytes) -> Regular:
        """The regular file at a path. Raises NinepError where there is none any more."""
        index = self.manifest.find(path)
        if index is not None and not self.served().shows(index):
            index = None
        if index is not None and self.manifest.entries[index].kind == "h":
            index = self.manifest.find(self.manifest.entries[index].target)
        if index is None or self.manifest.entries[index].kind != "f":
            raise NinepError(errno.ENOENT)
        return Regular(self.served(), path, self.manifest.file_number(index))

    def children(self, path: bytes) -> Iterator[PlainDirectory | FileDirectory]:
        """What is shown of a directory. One that is gone meanwhile is empty."""
        manifest, served = self.manifest, self.served()
        if manifest.single_file:
            indices = iter([0])
        else:
            index = manifest.find(path)
            indices = manifest.children(index) if index is not None else iter(())
        for index in indices:
            entry = manifest.entries[index]
            if entry.kind in _SHOWN and served.shows(index) and _is_shown(entry.path):
                yield _SHOWN[entry.kind](self, entry.path)

    def stat(self, name: str, qid: Qid, entry: Entry | None, mode: int, length: int = 0) -> Stat:
        """The stat of what has the owner and times of an entry."""
        manifest = self.manifest
        user = manifest.users.get(entry.uid, str(entry.uid)) if entry else OWNER
        group = manifest.groups.get(entry.gid, str(entry.gid)) if entry else OWNER
        seconds = entry.mtime_ns // 1_000_000_000 & 0xFFFFFFFF if entry else 0
        kind = DMDIR if qid.type & QTDIR else 0
        return Stat(
            qid=qid,
            mode=mode | kind,
            atime=seconds,
            mtime=seconds,
            length=length,
            name=name,
            uid=user,
            gid=group,
            muid=user,
        )


def _is_shown(path: bytes) -> bool:
    """Whether the last name of a path is one that a C client can be shown in a directory."""
    name = path.rpartition(b"/")[2]
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return name != DATA.encode() and path != LOG.encode()


def _qid(path: bytes, number: int, version: int) -> Qid:
    """The qid of what is at a path: the same in every generation. Two paths with one number are 2**60 to 1."""
    identity = int.from_bytes(blake3(path).digest(8), "little")
    return Qid(QTFILE if number else QTDIR, version, identity & ~7 | number)


@dataclass(frozen=True, slots=True)
class PlainDirectory:
    """A directory of the generation."""

    tree: Tree
    path: bytes

    @property
    def qid(self) -> Qid:
        return _qid(self.path, 0, 1)

    def walk(self, name: str) -> File:
        if not self.path and name == LOG:
            return Control(self.tree, b"", LOG)
        path = self.path + b"/" + name.encode() if self.path else name.encode()
        if not _is_shown(path):
            raise NinepError(errno.ENOENT)
        return self.tree.look(path)

    def stat(self) -> Stat:
        manifest = self.tree.manifest
        index = manifest.find(self.path)
        name = self.path.rpartition(b"/")[2].decode()
        entry = manifest.entries[index] if index is not None else None
        return self.tree.stat(name, self.qid, entry, entry.mode & 0o777 if entry else 0o555)

    def open(self, mode: int) -> Handle:
        check_mode(mode, 0o444)
        return Directory(self._entries)

    def _entries(self) -> Iterator[Stat]:
        if not self.path:
            yield Control(self.tree, b"", LOG).stat()
        for child in self.tree.children(self.path):
            yield child.stat()


@dataclass(frozen=True, slots=True)
class FileDirectory:
    """A regular file, as a directory."""

    tree: Tree
    path: bytes

    @property
    def qid(self) -> Qid:
        return _qid(self.path, 0, 1)

    def walk(self, name: str) -> File:
        if name not in _OF_A_FILE:
            raise NinepError(errno.ENOENT)
        return DataFile(self.tree, self.path) if name == DATA else Control(self.tree, self.path, name)

    def stat(self) -> Stat:
        name = self.path.rpartition(b"/")[2].decode()
        return self.tree.stat(name, self.qid, self.tree.file(self.path).entry, 0o555)

    def open(self, mode: int) -> Handle:
        check_mode(mode, 0o444)
        return Directory(lambda: [self.walk(name).stat() for name in _OF_A_FILE])


_SHOWN: dict[str, type[PlainDirectory] | type[FileDirectory]] = {
    "d": PlainDirectory,
    "f": FileDirectory,
    "h": FileDirectory,
}
"""By the kind of an entry."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file's `data`."""

    tree: Tree
    path: bytes

    @property
    def qid(self) -> Qid:
        entry = self.tree.file(self.path).entry
        # Never 0, which would tell Linux not to cache.
        return _qid(self.path, _OF_A_FILE[DATA], (entry.mtime_ns ^ entry.size << 1) & 0xFFFFFFFF | 1)

    def walk(self, name: str) -> File:
        raise NinepError(errno.ENOTDIR)

    def stat(self) -> Stat:
        entry = self.tree.file(self.path).entry
        return self.tree.stat(DATA, self.qid, entry, entry.mode & 0o777, entry.size)

    def open(self, mode: int) -> Handle:
        check_mode(mode, 0o444)
        return Data(self.tree, self.tree.file(self.path))


@dataclass(frozen=True, slots=True)
class Control:
    """A control file: of a file, or the root's `log`. Its version is 0: Linux does not cache what changes by itself."""

    tree: Tree
    path: bytes
    name: str

    @property
    def qid(self) -> Qid:
        return _qid(self.path, _OF_A_FILE.get(self.name, _NUMBER_OF_LOG), 0)

    def walk(self, name: str) -> File:
        raise NinepError(errno.ENOTDIR)

    def stat(self) -> Stat:
        entry = self.tree.file(self.path).entry if self.name != LOG else None
        return self.tree.stat(self.name, self.qid, entry, _MODES[self.name])

    def open(self, mode: int) -> Handle:
        # The mode of `log` says that it is for writing; C clients read it all the same.
        check_mode(mode, _MODES[self.name] if self.name != LOG else 0o666)
        desk = self.tree.desk
        if self.name == LOG:
            return Log(desk)
        file = self.tree.file(self.path)
        if self.name == REDIR:
            return Answered(lambda answer: desk.redirect(file, answer))
        return Checksum(desk, file) if self.name == CHECKSUM else Avail(self.tree, self.path)


class Data(OpenFile):
    """Keeps to the content that was there when it was opened, however many generations come meanwhile."""

    def __init__(self, tree: Tree, file: Regular) -> None:
        self._tree = tree
        self._keep_to(file)
        tree.desk.begin(file)

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        desk = self._tree.desk
        if desk.ending:
            raise NinepError(errno.ESHUTDOWN, "this server ends")
        if self._file.served is not desk.served:
            self._renew()
        store = self._file.served.store
        length = min(count, max(0, self._size - offset))
        if not length:
            return b""
        try:
            store.check_file(self._file.number, offset, length)
            if length <= SMALL:
                return Content(length, self._opened.read(offset, length))
        except NotHeld:
            if store.growing:
                return WAITING
            raise
        except StaleGeneration as error:
            self._file.served.on_stale(error.path)
            raise
        return Content(length, DataRange(self._file, offset, length))

    def _renew(self) -> None:
        """Read from the newest generation if the file is the same in it: more of it may be held there."""
        try:
            newest = self._tree.file(self._file.path)
        except NinepError:
            return
        if newest.is_content_of(self._file):
            self._opened.close()
            self._keep_to(newest)

    def _keep_to(self, file: Regular) -> None:
        self._file = file
        self._size = file.entry.size
        self._opened = OpenedFile(file.served.store, file.number)

    def clunk(self) -> None:
        self._opened.close()
        self._tree.desk.end(self._file)


@dataclass(frozen=True, slots=True)
class DataRange:
    """A large range of a file, for `net.outgoing`."""

    file: Regular
    offset: int
    length: int

    def open(self) -> list[bytes | OpenExtent]:
        try:
            return [OpenExtent(self.file.served.store.open(self.file.number), self.offset, self.length)]
        except StaleGeneration as error:
            self.file.served.on_stale(error.path)
            raise


class Checksum(Answered):
    """Whoever reads it has the file, as far as a server can know; he waits until this server has all of it, too."""

    def __init__(self, desk: Desk, file: Regular) -> None:
        super().__init__(lambda answer: desk.checksum(file, answer))
        self._desk = desk
        self._file = file
        self._told = False

    def read(self, offset: int, count: int) -> bytes | Waiting:
        if not self._told:
            self._told = True
            self._desk.taken(self._file)
        store = self._file.served.store
        try:
            store.check_file(self._file.number, 0, self._file.entry.size)
        except NotHeld:
            if store.growing:
                return WAITING
            raise
        return super().read(offset, count)


class Avail(OpenFile):
    """A client's word that it serves a file; it holds as long as this is open."""

    _numbers = 0

    def __init__(self, tree: Tree, path: bytes) -> None:
        Avail._numbers += 1
        self._number = Avail._numbers
        self._tree = tree
        self._path = path
        self._said = False

    def write(self, offset: int, data: bytes) -> int:
        said = Available.decode(data)
        self._tree.desk.available(self._number, self._tree.file(self._path), said)
        self._said = True
        return len(data)

    def clunk(self) -> None:
        if self._said:
            self._tree.desk.unavailable(self._number)


class Log(Text):
    """A C client reads the level at which it is to say what it does, and then says it here."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(b"%d" % desk.debug)
        self._desk = desk

    def write(self, offset: int, data: bytes) -> int:
        self._desk.remark(printable(data[:LINE_LIMIT].strip(b"\0\n ")))
        return len(data)
