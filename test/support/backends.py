"""Backends that record what the files of a namespace ask of them, and a generation for them to serve."""

from __future__ import annotations

import os
from pathlib import Path

from xget_lib.classic.backend import Backend, Namespace
from xget_lib.classic.files import AvailLine, Regular
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.net.server import Client
from xget_lib.ninep.file import Content, OpenExtent
from xget_lib.serve.served import EncodedManifest, Served
from xget_lib.serve.store import Store, close_extents
from xget_lib.serve.synthetic import DeferredText, Stream
from xget_lib.swarm.messages import Registration


def served(directory: Path | Root, manifest: Manifest, *, full: bool = True, marks: tuple[bytes, ...] = ()) -> Served:
    """A generation as a server holds it: all of it, or no chunk yet."""
    chunks = manifest.layout.chunk_count
    held = Bitmap.filled(chunks) if full else Bitmap(chunks)
    root = directory if isinstance(directory, Root) else Root(bytes(directory))
    store = Store(root, manifest, held)
    return Served(EncodedManifest.of(manifest.encode()), store, marks=marks)


def parts_of(data: object) -> list[bytes | OpenExtent]:
    """The parts of a Content, opened as if its reply was about to be sent."""
    assert isinstance(data, Content) and not isinstance(data.source, bytes)
    return data.source()


def content(parts: list[bytes | OpenExtent]) -> bytes:
    """The bytes that a connection would send; closes the files."""
    try:
        return b"".join(e if isinstance(e, bytes) else os.pread(e.fd, e.length, e.offset) for e in parts)
    finally:
        close_extents(parts)


def bytes_of(data: object) -> bytes:
    """The bytes that a connection would send for what a read gave."""
    if isinstance(data, bytes):
        return data
    return content(parts_of(data))


class RecordingBackend:
    """`MasterBackend`, `ChildBackend` and their server, of `serve.swarm`. `said` is what it was asked, in order."""

    def __init__(self, served: Served | None = None) -> None:
        self.server = self
        self.served = served
        self.manifest: EncodedManifest | None = served.manifest if served else None
        self.debug_level = 3
        self.have_round = 0
        self.said: list[object] = []
        self.news: list[Stream] = []
        self.requests: dict[int, Stream] = {}
        self.answers: list[DeferredText] = []

    def subscribe(self, news: Stream) -> None:
        self.said.append("subscribe")
        self.news.append(news)

    def unsubscribe(self, news: Stream) -> None:
        self.said.append("unsubscribe")
        if news in self.news:  # that was read
            self.news.remove(news)

    def register(self, registration: Registration) -> None:
        self.said.append(registration)

    def request_slot(self, slot: int, answers: Stream) -> None:
        self.said.append("request slot")
        self.requests[slot] = answers

    def release_slot(self, slot: int) -> None:
        self.said.append("release slot")
        self.requests.pop(slot, None)

    def wants(self, chunks: bytes) -> None:
        self.said.append(chunks)

    def request_status(self, answer: DeferredText) -> None:
        self.said.append("status")
        self.answers.append(answer)

    def request_nodes(self, answer: DeferredText) -> None:
        self.said.append("nodes")
        self.answers.append(answer)

    def remark(self, line: str) -> None:
        self.said.append(line)


class RecordingClassicBackend(Backend):
    """A backend and its host, of `classic.files`. `said` is what it was asked, in order."""

    def __init__(self, served: Served | None = None) -> None:
        self.served = served
        self.debug_level = 3
        self.clients: list[Client] = []
        super().__init__(Namespace(self), Client(1, "10.0.0.1", 1))
        self.said: list[object] = []
        self.answers: list[DeferredText] = []

    def redirect(self, file: Regular, answer: DeferredText) -> None:
        self.said.append(("redirect", file.path))
        self.answers.append(answer)

    def checksum(self, file: Regular, answer: DeferredText) -> None:
        self.said.append(("checksum", file.path))
        self.answers.append(answer)

    def opened(self, file: Regular) -> None:
        self.said.append(("opened", file.path))

    def closed(self, file: Regular) -> None:
        self.said.append(("closed", file.path))

    def complete(self, file: Regular) -> None:
        self.said.append(("complete", file.path))

    def available(self, avail: int, file: Regular, written: AvailLine) -> None:
        self.said.append((file.path, written))

    def unavailable(self, avail: int) -> None:
        self.said.append("unavailable")

    def hidden(self, generation: bytes, path: bytes) -> None:
        self.said.append(("hidden", path))

    def remark(self, *said: object) -> None:
        self.said.append(said[-1])
