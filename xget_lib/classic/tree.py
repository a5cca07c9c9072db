"""The namespace `classic`: what the C program's server serves, for the clients of XCPU 1.2.

A directory is a directory. A regular file `p` is a directory `p` too, with these files in it:

    data       the file's bytes, with its mode, owner, time and length. A read waits for a range that is still to come
    redir      from where to take the file: `me`, or `ADDRESS!PORT` of another server that has the same tree
    avail      written: `PORT REDIR` and a NUL. The client serves this file on PORT, and took it from REDIR. That holds
               until the fid is clunked or the connection ends
    checksum   the Adler-32 of the whole file, in decimal

The root has one file more:

    log        the debug level, in decimal; written: a line for this server's log

The tree shows the generation that is served, not what is on disk now: so length, bytes and checksum fit together, and
reading a file that has changed is an error. A fid keeps only a path, and the file is looked up at each use: C clients
hold fids for hours, and these must not keep an old generation in memory.

Links and special files are not shown, nor names that are not UTF-8. A file or directory called `data` is not shown
either: a C client takes every directory with a `data` in it for a file, and would not see the rest of the directory.
In the root, `log` is the control file, even if a served file has that name. The server's log names what is not shown.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from blake3 import blake3

from xget_lib.classic.files import Avail, Checksum, Data, Regular
from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError
from xget_lib.manifest.entry import Entry
from xget_lib.manifest.manifest import Manifest
from xget_lib.ninep.file import File, Handle
from xget_lib.ninep.stat import DMDIR, Stat
from xget_lib.ninep.wire import QTDIR, QTFILE, Qid
from xget_lib.serve.synthetic import OWNER, DeferredText, Directory, Log, check_mode

if TYPE_CHECKING:
    from xget_lib.classic.backend import Backend

DATA, REDIR, AVAIL, CHECKSUM, LOG = "data", "redir", "avail", "checksum", "log"
_OF_A_FILE = {DATA: 1, REDIR: 2, AVAIL: 3, CHECKSUM: 4}
"""By name: the last bits of the qid's path, which are 0 for the directory of the file."""
_NUMBER_OF_LOG = 5
_MODES = {REDIR: 0o444, AVAIL: 0o666, CHECKSUM: 0o444, LOG: 0o222}


def tree(backend: Backend) -> File:
    """The root of the namespace for one connection. Raises NinepError while there is no generation."""
    backend.newest()
    return PlainDirectory(Tree(backend), b"")


class Tree:
    """What all files of one connection share: a path is looked up in the newest generation."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def file(self, path: bytes) -> Regular:
        return Regular.find(self.backend.newest(), path)

    @property
    def manifest(self) -> Manifest:
        return self.backend.newest().store.manifest

    def look_up(self, path: bytes) -> _ShownPath:
        """The directory, or the file as a directory, at a path. Raises NinepError if none is shown there."""
        index = self.manifest.entries.find(path)
        if index is None or not self.backend.newest().shows(index):
            raise NinepError(errno.ENOENT)
        entries = self.manifest.entries
        kind = entries.kind(entries.first_name(index))
        if kind not in _SHOWN:
            raise NinepError(errno.ENOENT, "neither a file nor a directory")
        return _SHOWN[kind](self, path)

    def children(self, path: bytes) -> Iterator[_ShownPath]:
        """What is shown of a directory. A directory that does not exist any more is empty."""
        manifest, served = self.manifest, self.backend.newest()
        if manifest.single_file:
            indices = range(1)
        else:
            index = manifest.entries.find(path)
            indices = manifest.entries.children_of(index) if index is not None else range(0)
        for index in indices:
            kind = manifest.entries.kind(manifest.entries.first_name(index))
            if kind in _SHOWN and served.shows(index):
                below = manifest.entries.path(index)
                if _is_shown(below):
                    yield _SHOWN[kind](self, below)
                else:
                    self.backend.hidden(served.generation, below)

    def stat(self, name: str, qid: Qid, entry: Entry | None, mode: int, length: int = 0) -> Stat:
        """A stat with the owner and time of an entry."""
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
    """Whether a C client can see the last name of a path in a directory."""
    name = path.rpartition(b"/")[2]
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return name != DATA.encode() and path != LOG.encode()


def _qid(path: bytes, number: int, version: int) -> Qid:
    """The qid of a path: the same in every generation. The chance that two paths have the same is 1 in 2**60."""
    identity = int.from_bytes(blake3(path).digest(8), "little")
    return Qid(QTFILE if number else QTDIR, version, identity & ~7 | number)


@dataclass(frozen=True, slots=True)
class _ShownPath(File):
    """What a path of the generation is shown as: always a directory."""

    tree: Tree
    path: bytes

    @property
    def qid(self) -> Qid:
        return _qid(self.path, 0, 1)


class PlainDirectory(_ShownPath):
    """A directory of the generation."""

    __slots__ = ()

    def walk(self, name: str) -> File:
        if not self.path and name == LOG:
            return Control(self.tree, b"", LOG)
        encoded = name.encode(errors="surrogateescape")  # 9P2000.L carries names that are not UTF-8
        path = self.path + b"/" + encoded if self.path else encoded
        if not _is_shown(path):
            raise NinepError(errno.ENOENT)
        return self.tree.look_up(path)

    def stat(self) -> Stat:
        manifest = self.tree.manifest
        index = manifest.entries.find(self.path)
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
            with contextlib.suppress(NinepError):  # a newer generation may not have it
                yield child.stat()


class FileDirectory(_ShownPath):
    """A regular file, as a directory."""

    __slots__ = ()

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


_SHOWN: dict[str, type[_ShownPath]] = {"d": PlainDirectory, "f": FileDirectory}
"""By the kind of an entry, for a hard link that of its first name."""


@dataclass(frozen=True, slots=True)
class DataFile(File):
    """A file's `data`."""

    tree: Tree
    path: bytes

    @property
    def qid(self) -> Qid:
        entry = self.tree.file(self.path).entry
        # With version 0 Linux would not cache.
        return _qid(self.path, _OF_A_FILE[DATA], (entry.mtime_ns ^ entry.size << 1) & 0xFFFFFFFF | 1)

    def stat(self) -> Stat:
        entry = self.tree.file(self.path).entry
        return self.tree.stat(DATA, self.qid, entry, entry.mode & 0o777, entry.size)

    def open(self, mode: int) -> Handle:
        check_mode(mode, 0o444)
        return Data(self.tree.backend, self.tree.file(self.path))


@dataclass(frozen=True, slots=True)
class Control(File):
    """A control file of a file, or the root's `log`. Its version is 0, since Linux must not cache it."""

    tree: Tree
    path: bytes
    name: str

    @property
    def qid(self) -> Qid:
        return _qid(self.path, _OF_A_FILE.get(self.name, _NUMBER_OF_LOG), 0)

    def stat(self) -> Stat:
        entry = self.tree.file(self.path).entry if self.name != LOG else None
        return self.tree.stat(self.name, self.qid, entry, _MODES[self.name])

    def open(self, mode: int) -> Handle:
        # By its mode `log` is for writing only, but C clients read it as well.
        check_mode(mode, _MODES[self.name] if self.name != LOG else 0o666)
        backend = self.tree.backend
        if self.name == LOG:
            return Log(b"%d" % backend.namespace.host.debug_level, backend.remark)
        file = self.tree.file(self.path)
        if self.name == REDIR:
            return DeferredText(lambda answer: backend.redirect(file, answer))
        return Checksum(backend, file) if self.name == CHECKSUM else Avail(backend, self.path)
