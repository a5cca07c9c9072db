"""What a server serves: one generation, its manifest and the store that its content is read from."""

from __future__ import annotations

import errno
import os
from collections import deque
from io import FileIO
from mmap import ACCESS_READ, mmap
from typing import Protocol

from xget_lib.dataclass import dataclass
from xget_lib.errors import RetiredGeneration
from xget_lib.ninep.file import Content, Handle, OpenExtent
from xget_lib.serve.store import Store

NOT_READY = (errno.EAGAIN, "the snapshot is not ready yet")
KEPT = 4
"""Generations that clients of one process can read, the newest included: 150 bytes of memory for each file."""


@dataclass(frozen=True)
class EncodedManifest(Handle):
    """An encoded manifest: one handle for all clients. The file is closed when nothing refers to this object."""

    file: FileIO
    size: int

    @classmethod
    def of(cls, data: bytes | memoryview) -> EncodedManifest:
        """In a file without a name."""
        file = FileIO(os.memfd_create("xget-manifest", os.MFD_CLOEXEC), "r+")
        file.write(data)
        return cls(file, len(data))

    def read(self, offset: int, count: int) -> bytes | Content:
        return content_of_file(self.file, self.size, offset, count)

    @property
    def content(self) -> memoryview:
        """Without a copy: it is in memory as long as anything refers to it."""
        return memoryview(mmap(self.file.fileno(), self.size, access=ACCESS_READ))


class Served:
    """One generation as a server has it."""

    def __init__(
        self,
        manifest: EncodedManifest,
        store: Store,
        shown: bytes | None = None,
        marks: tuple[bytes, ...] = (),
    ) -> None:
        """`shown`: by number of the entry, whether it is served here; None where all are. `marks`: at a master, those
        of the served directory (`fs.places`)."""
        self.manifest = manifest
        self.generation = store.manifest.generation
        self.marks = marks
        self._shown = shown
        self._store: Store | None = store

    @property
    def store(self) -> Store:
        """Raises RetiredGeneration after `retire`."""
        if self._store is None:
            raise RetiredGeneration
        return self._store

    def shows(self, entry: int) -> bool:
        """Whether an entry of the manifest, by its number, is served here."""
        return self._shown is None or bool(self._shown[entry])

    def retire(self) -> None:
        """Free the memory, whoever has files of this generation open."""
        self._store = self._shown = None


class LastGenerations:
    """What a server serves and served last. A client may read on in what it has opened, but not keep the memory of each
    generation that there was. Owned by the server."""

    def __init__(self) -> None:
        self._last: deque[Served] = deque()

    def add(self, newest: Served) -> None:
        """The server serves this from now on."""
        self._last.append(newest)
        if len(self._last) > KEPT:
            self._last.popleft().retire()


class Serving(Protocol):
    """A process that serves: a child, or a worker of a master."""

    @property
    def served(self) -> Served | None:
        """The newest generation; None while there is none yet."""

    @property
    def debug_level(self) -> int: ...


def content_of_file(file: FileIO, size: int, offset: int, count: int) -> bytes | Content:
    """At most `count` bytes from `offset` of an open file of `size` bytes. The Content keeps the file open: a fid may
    be clunked before its last reply is sent, and the kernel would give the descriptor's number to another file."""
    length = min(count, max(0, size - offset))
    return Content(length, lambda: [OpenExtent(os.dup(file.fileno()), offset, length)]) if length else b""
