"""A server's desks that note what they are asked, and a generation for them to serve."""

from __future__ import annotations

from pathlib import Path

from xget_lib.classic.files import Available, Regular
from xget_lib.fs.rooted import Root
from xget_lib.manifest.bitmap import Bitmap
from xget_lib.manifest.manifest import Manifest
from xget_lib.serve.served import Encoded, Served
from xget_lib.serve.store import Store
from xget_lib.serve.synthetic import Answered, Stream
from xget_lib.swarm.messages import Report


def served(directory: Path | Root, manifest: Manifest, *, full: bool = True) -> Served:
    """A generation as a server holds it: all of it, or no chunk yet."""
    chunks = manifest.layout.chunk_count
    held = Bitmap.filled(chunks) if full else Bitmap(chunks)
    root = directory if isinstance(directory, Root) else Root(bytes(directory))
    store = Store(root, manifest, held)
    return Served(manifest.generation, Encoded.of(manifest.encode()), store)


class NotingDesk:
    """Fits `serve.swarm.Desk`. `said` is what it was told, in order."""

    def __init__(self, served: Served | None = None, *, offers: bool = True) -> None:
        self.served = served
        self.manifest: Encoded | None = served.manifest if served else None
        self.debug = 3
        self.offers = offers
        self.news_round: int | None = None
        self.said: list[object] = []
        self.news: list[Stream] = []
        self.granted: dict[int, Stream] = {}
        self.answers: list[Answered] = []

    def watch(self, news: Stream) -> None:
        self.said.append("watch")
        self.news.append(news)

    def register(self, report: Report) -> None:
        self.said.append(report)

    def unregister(self, news: Stream) -> None:
        self.said.append("unregister")
        if news in self.news:  # that was read
            self.news.remove(news)

    def ask(self, slot: int, granted: Stream) -> None:
        self.said.append("ask")
        self.granted[slot] = granted

    def takes(self, chunks: bytes) -> None:
        self.said.append(chunks)

    def close_slot(self, slot: int) -> None:
        self.said.append("close slot")
        self.granted.pop(slot, None)

    def ask_status(self, answer: Answered) -> None:
        self.said.append("status")
        self.answers.append(answer)

    def remark(self, line: str) -> None:
        self.said.append(line)


class NotingClassicDesk:
    """Fits `classic.tree.Desk`. `said` is what it was told, in order."""

    def __init__(self, served: Served | None = None) -> None:
        self.served = served
        self.manifest: Encoded | None = served.manifest if served else None
        self.debug = 3
        self.ending = False
        self.said: list[object] = []
        self.answers: list[Answered] = []

    def redirect(self, file: Regular, answer: Answered) -> None:
        self.said.append(("redirect", file.path))
        self.answers.append(answer)

    def checksum(self, file: Regular, answer: Answered) -> None:
        self.said.append(("checksum", file.path))
        self.answers.append(answer)

    def begin(self, file: Regular) -> None:
        self.said.append(("begin", file.path))

    def end(self, file: Regular) -> None:
        self.said.append(("end", file.path))

    def taken(self, file: Regular) -> None:
        self.said.append(("taken", file.path))

    def available(self, avail: int, file: Regular, said: Available) -> None:
        self.said.append((file.path, said))

    def unavailable(self, avail: int) -> None:
        self.said.append("unavailable")

    def hides(self, path: bytes) -> None:
        self.said.append(("hides", path))

    def remark(self, line: str) -> None:
        self.said.append(line)
