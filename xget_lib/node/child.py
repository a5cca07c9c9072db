"""The child server of a node. It has the same namespaces as the master, for the content that this node holds.

It runs in the background process of the client: already during the download, and afterwards. Peers read `have` to see
what it holds, request an upload slot, and read. An `Uploader` decides which peer gets a slot, and when peers and the
master hear of changes.
"""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from logging import DEBUG, INFO
from typing import Any

import gevent
from gevent import socket as gsocket
from gevent.event import Event

from xget_lib import __version__
from xget_lib.errors import Failed, NinepError, printable
from xget_lib.extensions import extensions
from xget_lib.net.blocking import in_thread
from xget_lib.net.listen import LocalSocket
from xget_lib.net.sending_hosts import SendingHosts
from xget_lib.net.server import Client, Server
from xget_lib.ninep.budget import Budget
from xget_lib.ninep.file import File
from xget_lib.node.awake import now
from xget_lib.node.ticker import Ticker
from xget_lib.node.transfer import Transfer
from xget_lib.process.local_processes import CHILD, DOWNLOAD, FOLLOWER
from xget_lib.process.runtime_directory import Listening
from xget_lib.process.single_server import answer, replace_former
from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.serve import swarm
from xget_lib.serve.access import Access
from xget_lib.serve.attach import FILES, SWARM
from xget_lib.serve.files import Files
from xget_lib.serve.held import HeldContent
from xget_lib.serve.served import EncodedManifest, LastGenerations, Served
from xget_lib.serve.store import Store
from xget_lib.serve.swarm import SLOTS_LIMIT
from xget_lib.serve.synthetic import DeferredText, Stream
from xget_lib.swarm.actions import Announce, GrantUploadSlot, SendRegistration, UploadAction
from xget_lib.swarm.hosts import host_of
from xget_lib.swarm.messages import DONE, News, Registration
from xget_lib.swarm.tuning import TUNING
from xget_lib.swarm.uploader import Uploader

_ACCEPT_PAUSE = 0.1
"""Seconds to wait before the next try, when a connection of the successor cannot be accepted."""


class Child:
    """Serves what a node holds, and ends when nobody needs it any more. One in each node."""

    def __init__(
        self,
        listening: socket.socket,
        dest: bytes,
        debug: int,
        transfer: Transfer,
        *,
        follows: bool = False,
        access: Access | None = None,
        local: LocalSocket | None = None,
        sending: SendingHosts | None = None,
    ) -> None:
        """`follows` is for the status. Without `access`, everybody is let in. `local` is for programs of this machine,
        which prove nothing. `sending` limits what is sent, if it has a limit."""
        self._started = time.monotonic()
        self.debug_level = debug
        self.follows = follows
        self.port: int = listening.getsockname()[1]
        self.manifest: EncodedManifest | None = None
        """The newest manifest. What is served may still be of the generation before."""
        self.served: Served | None = None
        self._last = LastGenerations()
        self.news: News | None = None
        """The last news from the master, for clients that read `peers` here."""
        self.transfer = transfer
        self._uploader = Uploader(TUNING, now())
        self._ticker = Ticker(self._uploader, self._carry_out)
        self.have_round = 0
        """See `serve.swarm.ChildBackend`."""
        self._dest = dest
        self._files: Files | None = None
        self._listening = listening
        self._remarks = RateLimitedLog()
        self._requests: dict[int, tuple[Stream, Client]] = {}
        """By slot: the readers that wait for an upload slot."""
        self._stopped = Event()
        self._serves_on = False
        """Whether the download is done, and this is a child server only."""
        self._lingers: float | None = None
        """How long after the last read, once that is so,"""
        self._lingering_since = self._started
        """and from when on."""
        self._succession: Listening | None = None
        """Where the next child server of this destination asks this one to exit."""
        self._extensions = {aname: extension.child_side(self) for aname, extension in extensions().items()}
        connects = {aname: extension.connect for aname, extension in self._extensions.items()}
        self._server = Server(
            {**connects, SWARM: self._connect, FILES: lambda _: self._files_root}, DEBUG, access, sending
        )
        self._server.accept(listening)
        self._local = local
        if local is not None:
            self._server.accept(local.sock)

    # What this node holds.

    def serve(self, served: Served, files: Files) -> None:
        """Serve this from now on, and tell the master."""
        self.served, self._files = served, files
        self._last.add(served)
        store = served.store
        self.transfer.master.set_registration(served.generation, store.held.count)
        self._carry_out(self._uploader.serves(served.generation, store.held.count, now()))

    def chunk_written(self, held: HeldContent, chunk: int) -> None:
        """A download has written everything that was missing of a chunk."""
        if held.chunk_written(chunk):
            self.held_changed(held.store)

    def held_changed(self, store: Store) -> None:
        """A store holds more than before, or less. Others hear of it only if this store is the one that is served."""
        if self.served is not None and self.served.store is store:
            self.transfer.master.set_registration(self.served.generation, store.held.count)
            self._carry_out(self._uploader.held_changed(now()))

    def completed(self) -> None:
        """Everything that was asked for is here: tell the master at once."""
        self._carry_out(self._uploader.completed(now()))

    def announce(self) -> None:
        """Answer the readers of `have`: it has changed."""
        self.have_round += 1
        self._server.retry()

    def secret_changed(self) -> None:
        """Other keys are accepted from now on."""
        self._server.secret_changed()

    def _carry_out(self, decided: Sequence[UploadAction]) -> None:
        for action in decided:
            match action:
                case GrantUploadSlot(slot) if slot in self._requests:
                    answers, client = self._requests.pop(slot)
                    answers.put(b"take\n")
                    client.retry()
                case Announce():
                    self.announce()
                case SendRegistration():
                    gevent.spawn(self.transfer.master.register, self.transfer.fetched)
        self._ticker.update()

    # Its life.

    def take_over(self) -> None:
        """Become the only child server of this destination: ask the former one to exit."""
        self._serves_on = True
        try:
            self._succession = in_thread(replace_former, self._dest)
        except (Failed, OSError) as error:
            LOGGER.warning("no other process of this machine can find this child server: %s", error)
            return
        if self._succession is None:
            LOGGER.warning("the previous child server of %s does not exit", printable(self._dest))
        else:
            gevent.spawn(self._await_successor, self._succession.sock)

    def _await_successor(self, listening: socket.socket) -> None:
        while True:
            gsocket.wait_read(listening.fileno())
            try:
                accepted, _ = listening.accept()
            except OSError:  # this machine has no descriptor left, or the other process is gone
                gevent.sleep(_ACCEPT_PAUSE)
                continue
            with accepted:
                retire = in_thread(answer, accepted)
            if retire:
                LOGGER.info("a newer child server of %s has started; exiting", printable(self._dest))
                self.stop()

    @property
    def socket_directories(self) -> list[str]:
        """Where `drain` removes the names of sockets."""
        return [each.directory for each in (self._local, self._succession) if each is not None]

    def linger(self, seconds: float) -> None:
        """Return when nobody has read for this many seconds, when another server takes over, or after `stop`."""
        self._lingers, self._lingering_since = seconds, time.monotonic()
        while (left := self.left) > 0:
            if self._stopped.wait(left if left < math.inf else None):
                return
        LOGGER.info("no node has read for %g s; exiting", seconds)

    @property
    def left(self) -> float:
        """Seconds until `linger` ends, if nobody reads; infinite if it does not end by itself."""
        if self._lingers is None:
            return math.inf
        return max(self._lingering_since, self._server.last_sent) + self._lingers - time.monotonic()

    @property
    def role(self) -> str:
        """One of `local_processes.ROLES`."""
        if not self._serves_on:
            return DOWNLOAD
        return FOLLOWER if self.follows else CHILD

    def stop(self) -> None:
        """End `linger`."""
        self._stopped.set()

    def drain(self) -> None:
        """Accept no more connections, and tell clients that need it that this server ends."""
        self._server.stop_accepting()
        self._listening.close()
        if self._local is not None:
            self._local.close()
        if self._succession is not None:
            self._succession.close()
        for extension in self._extensions.values():
            extension.drain()

    # What clients ask for.

    @property
    def slots(self) -> Budget:
        """The upload slots that clients have requested."""
        return self._server.slots

    @property
    def clients(self) -> Collection[Client]:
        return self._server.clients.values()

    def remark(self, client: Client, line: str) -> None:
        """Write a line of a client to the log."""
        self._remarks.log(INFO, client.address, "message from a client: %s", line)

    def status(self) -> Mapping[str, Any]:
        store = self.served.store if self.served else None
        return {
            "role": self.role,
            "version": __version__,
            "pid": os.getpid(),
            "path": printable(self._dest),
            "port": self.port,
            "seconds": round(time.monotonic() - self._started, 1),
            "time": time.time(),
            "generation": self.served.generation.hex() if self.served else None,
            "files": store.layout.file_count if store else None,
            "bytes": store.layout.size if store else None,
            "chunks": store.layout.chunk_count if store else None,
            "held": store.held.count if store else 0,
            "sent": self._server.sent,
            "encrypts": self._server.encrypts,
            "connections": len(self._server.clients),
            "refused": self._server.refused,
            "follows": self.follows,
            "outdated": self._is_outdated(),
            "master": self.transfer.master.where,
            "ends_in": round(self.left, 1) if self.left < math.inf else None,
        }

    def _is_outdated(self) -> bool:
        """Whether its files are of an earlier generation than that of which it serves what has not changed."""
        registration = self.transfer.master.registration
        return registration.ended == DONE and not registration.in_place

    def request_slot(self, slot: int, answers: Stream, client: Client) -> None:
        """Put a line into the stream when this slot may take a chunk."""
        self._requests[slot] = answers, client
        self._carry_out(self._uploader.slot_requested(slot, host_of(client.address), now()))

    def release_slot(self, slot: int) -> None:
        """The slot needs no chunk now."""
        self._requests.pop(slot, None)
        self._carry_out(self._uploader.slot_ended(slot, now()))

    def _connect(self, client: Client) -> Callable[[], File]:
        return cache(partial(swarm.child_tree, NodeBackend(self, client)))

    def _files_root(self) -> File:
        """Raises NinepError while nothing is served."""
        if self._files is None:
            raise NinepError(errno.EAGAIN)
        return self._files.tree()


class NodeBackend:
    """`serve.swarm.ChildBackend` of one connection. Owned by its session."""

    def __init__(self, child: Child, client: Client) -> None:
        self.server = child
        self._client = client
        self._slots: set[int] = set()
        """The slots that are requested or granted."""

    @property
    def have_round(self) -> int:
        return self.server.have_round

    def subscribe(self, news: Stream) -> None:
        if self.server.news is not None:
            news.put(self._client.sealed(self.server.news.encode()))

    def register(self, registration: Registration) -> None:
        """A peer that downloads from here soon has chunks to give: this node may connect to it."""
        self.server.transfer.peer_registered((self._client.address, registration.port), registration.generation)

    def request_slot(self, slot: int, answers: Stream) -> None:
        if slot not in self._slots and (
            len(self._slots) >= SLOTS_LIMIT or not self.server.slots.take(self._client.account)
        ):
            raise NinepError(errno.EMFILE, "too many slots")
        self._slots.add(slot)
        self.server.request_slot(slot, answers, self._client)

    def release_slot(self, slot: int) -> None:
        if slot in self._slots:
            self._slots.remove(slot)
            self.server.slots.give_back(self._client.account)
        self.server.release_slot(slot)

    def request_status(self, answer: DeferredText) -> None:
        answer.put(json.dumps(self.server.status()).encode() + b"\n")

    def remark(self, line: str) -> None:
        self.server.remark(self._client, line)
