"""The open files of the namespace `classic`, and what they ask of a backend (`ClassicBackend`)."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from xget_lib.errors import NinepError, NotHeld, printable
from xget_lib.manifest.entry import Entry
from xget_lib.ninep.file import WAITING, Content, Handle, Waiting
from xget_lib.serve.served import Served, Serving
from xget_lib.serve.store import OpenedFile, OpenExtent
from xget_lib.serve.synthetic import Answered, Text

ME = b"me"
"""The text of `redir` when the client is to take the file from this server."""

LINE_LIMIT = 1024
SMALL = 64 * 1024
"""Bytes up to which a read is answered from memory. Then a change of the file is found before anything is sent. The C
client reads 32 KiB at a time, and takes the end of the connection for the end of the file."""

_AVAILABLE = re.compile(rb"([1-9][0-9]{0,4}) (?:me|([0-9A-Za-z.:%_-]{1,80})!([1-9][0-9]{0,4}))\0")


@dataclass(frozen=True, slots=True)
class Available:
    """What a C client writes to `avail`: the port on which it serves the file, and from where it takes it itself."""

    port: int
    source: tuple[str, int] | None
    """Address and port; None is this server."""

    @classmethod
    def decode(cls, written: bytes) -> Available:
        """Raises NinepError."""
        match = _AVAILABLE.fullmatch(written)
        if match is None or not all(int(port) <= 65535 for port in (match[1], match[3] or b"0")):
            raise NinepError(errno.EINVAL, "expected `PORT REDIR` and a NUL byte")
        return cls(int(match[1]), (match[2].decode(), int(match[3])) if match[2] else None)


@dataclass(frozen=True, slots=True)
class Regular:
    """A regular file of one generation."""

    served: Served
    path: bytes
    """One of its names, if it has several."""
    number: int

    @classmethod
    def find(cls, served: Served, path: bytes) -> Regular:
        """The regular file at a path. Raises NinepError if none is shown there."""
        manifest = served.store.manifest
        index = manifest.entries.find(path)
        if index is not None and not served.shows(index):
            index = None
        entries = manifest.entries
        if index is None or entries.kind(entries.first_name(index)) != "f":
            raise NinepError(errno.ENOENT)
        return cls(served, path, entries.file_number(entries.first_name(index)))

    @property
    def entry(self) -> Entry:
        return self.served.store.manifest.file(self.number)

    def is_content_of(self, other: Regular) -> bool:
        """Whether both have the same content."""
        return self._content() == other._content()

    def key(self) -> bytes:
        """16 bytes that name this path with this content, in any generation."""
        return blake3(self.path + b"\0").update(self._content()).digest(16)

    def _content(self) -> bytes:
        return self.served.store.manifest.content_of(self.number)


class ClassicBackend(Protocol):
    """What the files of one connection ask for. Each file of the connection has the same backend."""

    @property
    def host(self) -> Serving: ...

    @property
    def ending(self) -> bool:
        """Whether this server is about to end: all reads of `data` are refused. A C client takes the end of the
        connection for the end of the file, so it must see an error before."""

    @property
    def tracker(self) -> Tracker | None:
        """Who follows what C clients have and serve: the master. None at a child."""

    def redirect(self, file: Regular, answer: Answered) -> None:
        """Put into the answer where the client is to take this file from."""

    def checksum(self, file: Regular, answer: Answered) -> None:
        """Put the checksum into the answer, or the error because of which there is none."""

    def opened(self, file: Regular) -> None:
        """`data` was opened."""

    def closed(self, file: Regular) -> None:
        """`data` was clunked."""

    def remark(self, line: str) -> None:
        """Write a line of the client to the log."""


class Tracker(Protocol):
    """What a master wants to know of one connection."""

    def complete(self, file: Regular) -> None:
        """The client has all of this file, from whatever server: it reads the checksum."""

    def available(self, avail: int, file: Regular, written: Available) -> None:
        """The client serves this file. `avail` is the number of the open `avail` on which it said so."""

    def unavailable(self, avail: int) -> None:
        """The client does not serve that file any more."""

    def hidden(self, generation: bytes, path: bytes) -> None:
        """This path of the generation is not shown because of its name."""


def newest_of(backend: ClassicBackend) -> Served:
    """The newest generation. Raises NinepError while there is none."""
    if backend.host.served is None:
        raise NinepError(errno.EAGAIN, "the snapshot is not ready yet")
    return backend.host.served


class Data(Handle):
    """Stays with the content that the file had when it was opened, whatever newer generations have."""

    def __init__(self, backend: ClassicBackend, file: Regular) -> None:
        self._backend = backend
        self._use(file)
        backend.opened(file)

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        if self._backend.ending:
            raise NinepError(errno.ESHUTDOWN, "the server is shutting down")
        newest = self._backend.host.served
        if self._file.served is not newest and newest is not None:
            self._renew(newest)
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
        return Content(length, DataRange(self._file, offset, length))

    def _renew(self, newest: Served) -> None:
        """Read from the newest generation if the content is the same there: more of it may be held."""
        try:
            file = Regular.find(newest, self._file.path)
        except NinepError:
            return
        if file.is_content_of(self._file):
            self._opened.close()
            self._use(file)

    def _use(self, file: Regular) -> None:
        self._file = file
        self._size = file.entry.size
        self._opened = OpenedFile(file.served.store, file.number)

    def clunk(self) -> None:
        self._opened.close()
        self._backend.closed(self._file)


@dataclass(frozen=True, slots=True)
class DataRange:
    """A large range of a file, for `net.outgoing`."""

    file: Regular
    offset: int
    length: int

    def open(self) -> list[bytes | OpenExtent]:
        return [OpenExtent(self.file.served.store.open(self.file.number), self.offset, self.length)]


class Checksum(Answered):
    """A client that reads it has the whole file, as far as a server can know. The read waits until this server has the
    whole file as well."""

    def __init__(self, backend: ClassicBackend, file: Regular) -> None:
        super().__init__(lambda answer: backend.checksum(file, answer))
        self._backend = backend
        self._file = file
        self._reported = False

    def read(self, offset: int, count: int) -> bytes | Waiting:
        if not self._reported:
            self._reported = True
            if self._backend.tracker is not None:
                self._backend.tracker.complete(self._file)
        store = self._file.served.store
        try:
            store.check_file(self._file.number, 0, self._file.entry.size)
        except NotHeld:
            if store.growing:
                return WAITING
            raise
        return super().read(offset, count)


class Avail(Handle):
    """A client writes here that it serves a file. That holds until this is clunked."""

    _numbers = 0

    def __init__(self, backend: ClassicBackend, path: bytes) -> None:
        Avail._numbers += 1
        self._number = Avail._numbers
        self._backend = backend
        self._path = path
        self._written = False

    def write(self, offset: int, data: bytes) -> int:
        written = Available.decode(data)
        file = Regular.find(newest_of(self._backend), self._path)
        if self._backend.tracker is not None:
            self._backend.tracker.available(self._number, file, written)
        self._written = True
        return len(data)

    def clunk(self) -> None:
        if self._written and self._backend.tracker is not None:
            self._backend.tracker.unavailable(self._number)


class Log(Text):
    """A C client reads the debug level for its own messages, and writes these here."""

    def __init__(self, backend: ClassicBackend) -> None:
        super().__init__(b"%d" % backend.host.debug_level)
        self._backend = backend

    def write(self, offset: int, data: bytes) -> int:
        self._backend.remark(printable(data[:LINE_LIMIT].strip(b"\0\n ")))
        return len(data)
