"""The open files of the namespace `classic`. They ask a `backend.Backend` for what is not in the content."""

from __future__ import annotations

import errno
import re
from itertools import count
from typing import TYPE_CHECKING

from blake3 import blake3

from xget_lib.dataclass import dataclass
from xget_lib.errors import NinepError, NotHeld
from xget_lib.manifest.entry import Entry
from xget_lib.ninep.file import WAITING, Content, Handle, OpenExtent, Waiting
from xget_lib.serve.served import Served
from xget_lib.serve.store import OpenedFile
from xget_lib.serve.synthetic import DeferredText
from xget_lib.swarm.messages import LINE_LIMIT

if TYPE_CHECKING:
    from xget_lib.classic.backend import Backend

ME = b"me"
"""The text of `redir` when the client is to take the file from this server."""

SMALL = 64 * 1024
"""Bytes up to which a read is answered from memory. Then a change of the file is found before anything is sent. The C
client reads 32 KiB at a time, and takes the end of the connection for the end of the file."""

_AVAILABLE = re.compile(rb"([1-9][0-9]{0,4}) (?:me|([0-9A-Za-z.:%_-]{1,80})!([1-9][0-9]{0,4}))\0")


@dataclass(frozen=True, slots=True)
class AvailLine:
    """What a C client writes to `avail`: the port on which it serves a file, and the server that it reads it from."""

    port: int
    source: tuple[str, int] | None
    """Address and port; None is this server."""

    @classmethod
    def decode(cls, written: bytes) -> AvailLine:
        """Raises NinepError."""
        match = _AVAILABLE.fullmatch(written)
        if match is None or not all(int(port) <= 65535 for port in (match[1], match[3] or b"0")):
            raise NinepError(errno.EINVAL, "expected `PORT REDIR` and a NUL byte")
        if int(match[1]) < LINE_LIMIT:
            raise NinepError(errno.EINVAL, f"the port must be {LINE_LIMIT} or higher")
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
        entries = served.store.manifest.entries
        index = entries.find(path)
        if index is None or not served.shows(index) or entries.kind(entries.first_name(index)) != "f":
            raise NinepError(errno.ENOENT)
        return cls(served, path, entries.file_number(entries.first_name(index)))

    @property
    def entry(self) -> Entry:
        return self.served.store.manifest.file(self.number)

    def holds(self, offset: int, length: int) -> bool:
        """Whether this server holds a range of the file; False while it may still arrive.

        Raises NotHeld if it will not arrive, and StaleGeneration if the file has changed.
        """
        store = self.served.store
        try:
            store.check_file(self.number, offset, length)
        except NotHeld:
            if store.more_may_come:
                return False
            raise
        return True

    def key(self) -> bytes:
        """16 bytes that name this path with this content, in any generation."""
        content = self.served.store.manifest.content_of(self.number)
        return blake3(self.path + b"\0").update(content).digest(16)


class Data(Handle):
    """Gives the content that the file had when it was opened, even if a newer generation has other content."""

    def __init__(self, backend: Backend, file: Regular) -> None:
        self._backend = backend
        self._use(file)
        backend.opened(file)

    def read(self, offset: int, count: int) -> bytes | Content | Waiting:
        if self._backend.namespace.ending:
            raise NinepError(errno.ESHUTDOWN, "the server is shutting down")
        newest = self._backend.namespace.host.served
        if self._file.served is not newest and newest is not None:
            self._renew(newest)
        length = min(count, max(0, self._size - offset))
        if not length:
            return b""
        if not self._file.holds(offset, length):
            return WAITING
        if length <= SMALL:
            return Content(length, self._opened.read(offset, length))
        store, file = self._file.served.store, self._file.number
        return Content(length, lambda: [OpenExtent(store.open(file), offset, length)])

    def _renew(self, newest: Served) -> None:
        """Read from the newest generation if the content is the same there: more of it may be held."""
        try:
            file = Regular.find(newest, self._file.path)
        except NinepError:
            return
        if file.key() == self._key:
            self._opened.close()
            self._use(file)

    def _use(self, file: Regular) -> None:
        self._file = file
        self._size, self._key = file.entry.size, file.key()
        self._opened = OpenedFile(lambda: file.served.store, file.number)

    def clunk(self) -> None:
        self._opened.close()
        self._backend.closed(self._file)


class Checksum(DeferredText):
    """A client that reads the checksum has the whole file, as far as a server can know. The read waits until this
    server has the whole file too."""

    def __init__(self, backend: Backend, file: Regular) -> None:
        super().__init__(lambda answer: backend.checksum(file, answer))
        self._backend = backend
        self._file = file
        self._reported = False

    def read(self, offset: int, count: int) -> bytes | Waiting:
        if not self._reported:
            self._reported = True
            self._backend.complete(self._file)
        return super().read(offset, count) if self._file.holds(0, self._file.entry.size) else WAITING


class Avail(Handle):
    """A client writes here that it serves a file. This is valid until the file is clunked."""

    _numbers = count(1)
    """Unique in the process."""

    def __init__(self, backend: Backend, path: bytes) -> None:
        self._number = next(Avail._numbers)
        self._backend = backend
        self._path = path
        self._written = False

    def write(self, offset: int, data: bytes) -> int:
        written = AvailLine.decode(data)
        self._backend.available(self._number, Regular.find(self._backend.newest(), self._path), written)
        self._written = True
        return len(data)

    def clunk(self) -> None:
        if self._written:
            self._backend.unavailable(self._number)
