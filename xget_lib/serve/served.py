"""What a server serves: one generation, its manifest and the store that its content is read from."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from io import FileIO
from typing import Protocol

from xget_lib.ninep.file import Content, Handle, OpenExtent
from xget_lib.serve.store import Store

NOT_READY = (errno.EAGAIN, "the snapshot is not ready yet")


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


@dataclass(frozen=True)
class Served:
    """One generation as a server has it."""

    manifest: EncodedManifest
    store: Store
    shown: bytes | None = None
    """By number of the entry: whether it is served here. None where all are."""
    marks: tuple[bytes, ...] = ()
    """At a master: of the served directory (`fs.places`)."""

    @property
    def generation(self) -> bytes:
        return self.store.manifest.generation

    def shows(self, entry: int) -> bool:
        """Whether an entry of the manifest, by its number, is served here."""
        return self.shown is None or bool(self.shown[entry])


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
