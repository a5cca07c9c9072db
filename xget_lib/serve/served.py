"""What a server serves: one generation, its manifest and the store that its content is read from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO

from xget_lib.errors import StaleGeneration
from xget_lib.ninep.file import Content
from xget_lib.serve.store import OpenExtent, Store


@dataclass(frozen=True)
class Encoded:
    """An encoded manifest, for others to read. The file is closed when nobody uses this object any more."""

    file: FileIO
    size: int

    @classmethod
    def of(cls, data: bytes) -> Encoded:
        """In a file that has no name."""
        file = FileIO(os.memfd_create("xget-manifest", os.MFD_CLOEXEC), "r+")
        file.write(data)
        return cls(file, len(data))

    def read(self, offset: int, count: int) -> bytes | Content:
        length = min(count, max(0, self.size - offset))
        return Content(length, FileRange(self.file, offset, length)) if length else b""


@dataclass(frozen=True)
class Served:
    """One generation as a server holds it."""

    generation: bytes
    manifest: Encoded
    store: Store
    on_stale: Callable[[bytes], None] = lambda path: None
    """Told of the path of a file that is found changed."""
    shown: bytes | None = None
    """By number of the entry: whether it is served here, where not all are."""

    def shows(self, entry: int) -> bool:
        """Whether an entry of the manifest, by its number, is served here."""
        return self.shown is None or bool(self.shown[entry])

    def read_data(self, offset: int, count: int) -> bytes | Content:
        """A range of the content stream. Raises NotHeld at once; a file that changed is found out when it is sent."""
        length = min(count, max(0, self.store.layout.size - offset))
        self.store.check(min(offset, self.store.layout.size), length)
        return Content(length, StoreRange(self, offset, length)) if length else b""


@dataclass(frozen=True, slots=True)
class StoreRange:
    """A range of the content stream, for `net.outgoing`."""

    served: Served
    offset: int
    length: int

    def open(self) -> list[bytes | OpenExtent]:
        try:
            return self.served.store.open_extents(self.offset, self.length)
        except StaleGeneration as error:
            self.served.on_stale(error.path)
            raise


@dataclass(frozen=True, slots=True)
class FileRange:
    """A range of a file that is open, for `net.outgoing`. The file stays open as long as this object lives, though
    the fid may be clunked before its last reply is sent: the kernel gives a closed descriptor's number to the next."""

    file: FileIO
    offset: int
    length: int

    def open(self) -> list[bytes | OpenExtent]:
        return [OpenExtent(os.dup(self.file.fileno()), self.offset, self.length)]
