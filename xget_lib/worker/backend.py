"""What a worker's connections ask of the server beyond files: answered from the worker, or by asking the master.

A `Desk` is that of `serve.swarm` and that of `classic.tree`.
"""

from __future__ import annotations

import errno
from dataclasses import astuple
from itertools import count
from typing import TYPE_CHECKING

from xget_lib import ipc
from xget_lib.classic.files import Available, Regular
from xget_lib.classic.redirects import DOWNLOADS
from xget_lib.errors import NinepError
from xget_lib.net.connection import Connection
from xget_lib.serve.served import Encoded, Served
from xget_lib.serve.swarm import SLOTS_LIMIT
from xget_lib.serve.synthetic import Answered, Stream
from xget_lib.swarm.messages import Report

if TYPE_CHECKING:
    from xget_lib.worker.worker import Worker

_redirect_numbers = count(1)


class Desk:
    """Of one connection."""

    def __init__(self, worker: Worker, number: int) -> None:
        self.number = number
        self.connection: Connection | None = None
        self._worker = worker
        self.downloading = 0
        """Files that C clients have open, to read them."""
        self._news: list[Stream] = []
        self._slots: dict[int, Stream] = {}
        self._answers: list[Answered] = []
        self._redirects: dict[int, Answered] = {}
        self._asked: dict[bytes, bytes] = {}
        """By path: the keys of the files that the master has been asked for, and does not know to be taken."""

    @property
    def served(self) -> Served | None:
        return self._worker.served

    @property
    def manifest(self) -> Encoded | None:
        return self._worker.served.manifest if self._worker.served else None

    @property
    def debug(self) -> int:
        return self._worker.debug

    @property
    def ending(self) -> bool:
        return self._worker.ending

    @property
    def offers(self) -> bool:
        return True

    @property
    def news_round(self) -> None:
        return None

    def watch(self, news: Stream) -> None:
        self._news.append(news)
        self._worker.tell(ipc.PeersOpened(self.number))

    def register(self, report: Report) -> None:
        self._worker.tell(ipc.Register(self.number, *astuple(report)))

    def unregister(self, news: Stream) -> None:
        if news in self._news:
            self._news.remove(news)
        if not self._news:
            self._worker.tell(ipc.Unregister(self.number))

    def ask(self, slot: int, granted: Stream) -> None:
        if slot not in self._slots and len(self._slots) >= SLOTS_LIMIT:
            raise NinepError(errno.EMFILE, "too many slots")
        self._slots[slot] = granted
        self._worker.tell(ipc.Ask(self.number, slot))

    def takes(self, chunks: bytes) -> None:
        self._worker.tell(ipc.Wants(self.number, chunks))

    def close_slot(self, slot: int) -> None:
        if self._slots.pop(slot, None) is not None:
            self._worker.tell(ipc.CloseSlot(self.number, slot))

    def ask_status(self, answer: Answered) -> None:
        self._answers.append(answer)
        self._worker.tell(ipc.StatusWanted(self.number))

    def hides(self, path: bytes) -> None:
        self._worker.hides(path)

    def remark(self, line: str) -> None:
        self._worker.tell(ipc.LogLine(self.number, line))

    # What C clients want.

    def redirect(self, file: Regular, answer: Answered) -> None:
        self._asked.pop(file.path, None)
        key = self._asked[file.path] = file.key()
        if len(self._asked) > DOWNLOADS:
            del self._asked[next(iter(self._asked))]
        number = next(_redirect_numbers)
        self._redirects[number] = answer
        self._worker.tell(ipc.Redirect(self.number, number, key))

    def checksum(self, file: Regular, answer: Answered) -> None:
        self._worker.checksums.ask(file, answer, self.retry)

    def begin(self, file: Regular) -> None:
        self.downloading += 1

    def end(self, file: Regular) -> None:
        self.downloading -= 1
        self._taken(file, whole=False)

    def taken(self, file: Regular) -> None:
        self._taken(file, whole=True)

    def available(self, avail: int, file: Regular, said: Available) -> None:
        source, source_port = said.source or ("", 0)
        self._worker.tell(ipc.Available(self.number, avail, file.key(), said.port, source, source_port))

    def unavailable(self, avail: int) -> None:
        self._worker.tell(ipc.Unavailable(self.number, avail))

    def _taken(self, file: Regular, *, whole: bool) -> None:
        key = self._asked.pop(file.path, None)
        if key is not None:
            self._worker.tell(ipc.Taken(self.number, key, whole))

    # What the master says.

    def receive(self, message: ipc.News | ipc.Grant | ipc.Redirected) -> None:
        """Something that a read waits for."""
        if isinstance(message, ipc.News):
            for news in self._news:
                news.replace(message.line)
        elif isinstance(message, ipc.Grant):
            if message.slot in self._slots:
                self._slots[message.slot].put(b"%d\n" % message.chunk)
        elif isinstance(message, ipc.Redirected):
            answer = self._redirects.pop(message.redirect, None)
            if answer is not None:
                answer.put(message.text)
        self.retry()

    def tell_status(self, text: bytes) -> None:
        """What was asked for with `ask_status`."""
        for answer in self._answers:
            answer.put(text)
        self._answers.clear()
        self.retry()

    def retry(self) -> None:
        """What reads wait for may be there now."""
        assert self.connection is not None
        self.connection.retry()
