"""The namespace `swarm` of a worker, for one connection. It asks the master, in messages, for what only that knows."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Protocol

from xget_lib import ipc
from xget_lib.dataclass import astuple
from xget_lib.errors import NinepError
from xget_lib.net.server import Client
from xget_lib.ninep.budget import Budget
from xget_lib.process.memfd import read_all
from xget_lib.serve.swarm import SLOTS_LIMIT, SwarmServer
from xget_lib.serve.synthetic import DeferredText, Stream
from xget_lib.swarm.messages import Registration


class WorkerServer(SwarmServer, Protocol):
    """What a backend needs of the worker."""

    @property
    def slots(self) -> Budget:
        """The slots that clients of this process have requested."""

    def send(self, message: ipc.Message) -> None:
        """Send a message to the master."""

    def remark(self, client: Client, line: str) -> None:
        """Write a line of a client to the master's log."""


class WorkerBackend:
    """`serve.swarm.MasterBackend` of one connection. Owned by the worker."""

    def __init__(self, worker: WorkerServer, client: Client) -> None:
        self.server = worker
        self._client = client
        self._news: list[Stream] = []
        self._slots: dict[int, Stream] = {}
        self._readers: dict[str, list[DeferredText]] = {}
        """Those that wait for the text of a file, by its name."""

    def subscribe(self, news: Stream) -> None:
        self._news.append(news)
        self.server.send(ipc.PeersOpened(self._client.number))

    def unsubscribe(self, news: Stream) -> None:
        if news in self._news:
            self._news.remove(news)
        if not self._news:
            self.server.send(ipc.NodeUnregistered(self._client.number))

    def register(self, registration: Registration) -> None:
        *fields, reached = astuple(registration)
        self.server.send(ipc.NodeRegistered(self._client.number, *fields))
        if reached:
            self.server.send(ipc.PeersReached(self._client.number, reached))

    def request_slot(self, slot: int, answers: Stream) -> None:
        if slot not in self._slots and (
            len(self._slots) >= SLOTS_LIMIT or not self.server.slots.take(self._client.account)
        ):
            raise NinepError(errno.EMFILE, "too many slots")
        self._slots[slot] = answers
        self.server.send(ipc.SlotAsked(self._client.number, slot, self._client.round_trip))

    def release_slot(self, slot: int) -> None:
        if self._slots.pop(slot, None) is not None:
            self.server.slots.give_back(self._client.account)
            self.server.send(ipc.SlotClosed(self._client.number, slot))

    def wants(self, chunks: bytes) -> None:
        self.server.send(ipc.Wants(self._client.number, chunks))

    def request_status(self, answer: DeferredText) -> None:
        self._request("status", answer)

    def request_nodes(self, answer: DeferredText) -> None:
        self._request("nodes", answer)

    def _request(self, file: str, answer: DeferredText) -> None:
        self._readers.setdefault(file, []).append(answer)
        self.server.send(ipc.StatusWanted(self._client.number, file))

    def remark(self, line: str) -> None:
        self.server.remark(self._client, line)

    def receive(self, message: ipc.NewsLine | ipc.Grant | ipc.Status, descriptors: Sequence[int]) -> None:
        """The master answers a read that may still wait."""
        match message:
            case ipc.NewsLine(_, line):
                line = self._client.sealed(line)
                for news in self._news:
                    news.replace(line)
            case ipc.Grant(_, slot, chunk):
                if slot in self._slots:
                    self._slots[slot].put(b"%d\n" % chunk)
            case ipc.Status(_, file):
                text = read_all(descriptors[0])
                for answer in self._readers.pop(file, []):
                    answer.put(text)
        self._client.retry()
