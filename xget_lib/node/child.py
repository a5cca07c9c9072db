"""The server of a node: the same namespaces as the master's, for what this node holds, from its first piece on.

It runs in the client's own process while that downloads, and goes on when the client is done. It gives out nothing
by itself: a node is asked for what its `have` says, by those whose turn it is (`swarm.upload_slots`).
"""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from logging import DEBUG, ERROR, INFO, WARNING
from typing import Any

import gevent
from gevent import socket as gsocket
from gevent.event import Event

from xget_lib import __version__
from xget_lib.classic import drain, tree
from xget_lib.classic.checksums import Checksums
from xget_lib.classic.files import ME, Available, Regular
from xget_lib.errors import NinepError, printable
from xget_lib.net.accept import connections
from xget_lib.net.admission import Admission
from xget_lib.net.connection import Connection
from xget_lib.net.listen import prepare
from xget_lib.net.waiting import in_thread
from xget_lib.ninep.file import File
from xget_lib.ninep.limits import MAX_WALKED, Budget, Shared
from xget_lib.ninep.session import Session
from xget_lib.process import rlimit
from xget_lib.process.single_server import answer, succeed
from xget_lib.report.log import LOGGER
from xget_lib.report.rate_limited_log import RateLimitedLog
from xget_lib.serve import swarm
from xget_lib.serve.attach import CLASSIC, FILES, SWARM, attach
from xget_lib.serve.files import Files
from xget_lib.serve.served import Encoded, Served
from xget_lib.serve.swarm import SLOTS_LIMIT
from xget_lib.serve.synthetic import Answered, Stream
from xget_lib.swarm.messages import News, Report
from xget_lib.swarm.pace import Pace
from xget_lib.swarm.tuning import TUNING
from xget_lib.swarm.upload_slots import UploadSlots

_TICK = 1.0
"""Seconds after which turns that take too long are noticed when nothing else happens."""


class Child:
    """Accepts connections and serves them in this process."""

    def __init__(self, listening: socket.socket, dest: bytes, debug: int, *, follows: bool = False) -> None:
        """`follows` is for the status."""
        self.debug = debug
        self.follows = follows
        self.port: int = listening.getsockname()[1]
        self.manifest: Encoded | None = None
        """The newest; what is served may still be of the one before."""
        self.served: Served | None = None
        self.files: Files | None = None
        self.news: News | None = None
        """The last news from the master, passed on to who asks here."""
        self.on_introduced: Callable[[tuple[str, int], bytes], None] = lambda peer, generation: None
        """Called with where a reader serves, and what, when it says so."""
        self.news_round = 0
        """How often readers of `have` were told of changes."""
        self.sent = 0
        self.checksums = Checksums()
        self.ending = False
        self.downloading = 0
        """Files that C clients have open, to read them."""
        self._dest = dest
        self._listening = listening
        self._started = time.monotonic()
        self._last_read = time.monotonic()
        self._connections: set[Connection] = set()
        self._admission = Admission(rlimit.part())
        self._shared = Shared(Budget(MAX_WALKED), Budget(rlimit.part()), Budget(rlimit.part()))
        self._refusals, self._endings, self.remarks = RateLimitedLog(1), RateLimitedLog(), RateLimitedLog()
        self._changed = Event()
        self._pace = Pace(TUNING.have_chunks, TUNING.have_least, TUNING.have_most)
        self._turns: UploadSlots[int] = UploadSlots(TUNING.uploads)
        self._waiting: dict[int, tuple[Stream, Desk]] = {}
        self._turns_changed = Event()
        self._stopped = Event()
        self._accepting = gevent.spawn(self._accept)
        gevent.spawn(self._tell_readers)
        gevent.spawn(self._give_turns)

    def serve(self, served: Served, files: Files) -> None:
        """From now on it is this that is served."""
        self.served, self.files = served, files
        self._changed.set()

    def changed(self) -> None:
        """More (or less) is held than before."""
        self._pace.came(time.monotonic())
        self._changed.set()

    def settle(self) -> None:
        """Become the one server of this destination: one that was here before is asked to retire."""
        succession = in_thread(succeed, self._dest)
        if succession is None:
            LOGGER.warning("the server that was here before does not retire")
        else:
            gevent.spawn(self._await_successor, succession)

    def stop(self) -> None:
        """End `linger`."""
        self._stopped.set()

    def _await_successor(self, succession: socket.socket) -> None:
        while True:
            gsocket.wait_read(succession.fileno())
            accepted, _ = succession.accept()
            with accepted:
                retire = in_thread(answer, accepted, self.port)
            if retire:
                LOGGER.info("a newer server of %s takes over", printable(self._dest))
                self.stop()

    def linger(self, seconds: float) -> None:
        """Return when nobody has read for so many seconds, when another server succeeds this one, or after `stop`."""
        self._last_read = time.monotonic()
        while (left := self._last_read + seconds - time.monotonic()) > 0:
            if self._stopped.wait(left if left < math.inf else None):
                return
        LOGGER.info("nobody has read for %g s", seconds)

    def farewell(self) -> None:
        """Accept nobody any more, and tell C clients that the rest of their files does not come."""
        self._accepting.kill()  # first: nothing may wait for a descriptor that is closed
        self._listening.close()
        self.ending = True
        drain.tell(self._connections, lambda: self.downloading > 0)

    def status(self) -> Mapping[str, Any]:
        store = self.served.store if self.served else None
        return {
            "role": "child",
            "version": __version__,
            "pid": os.getpid(),
            "path": printable(self._dest),
            "port": self.port,
            "seconds": round(time.monotonic() - self._started, 1),
            "generation": self.served.generation.hex() if self.served else None,
            "files": store.layout.file_count if store else None,
            "bytes": store.layout.size if store else None,
            "chunks": store.layout.chunk_count if store else None,
            "held": store.held.count if store else 0,
            "sent": self.sent,
            "connections": len(self._connections),
            "follows": self.follows,
        }

    def _accept(self) -> None:
        for sock, host, port in connections(self._listening, self._admission, self._refuse):
            gevent.spawn(self._run, sock, host, port)

    def _refuse(self, host: str, why: str) -> None:
        self._refusals.log(WARNING if host else ERROR, host, "%s%s", f"{host}: " if host else "", why)

    def _run(self, sock: socket.socket, host: str, port: int) -> None:
        prepare(sock)
        desk = Desk(self, host)
        trees: dict[str, Callable[[], File]] = {
            CLASSIC: lambda: tree.tree(desk),
            SWARM: lambda: swarm.tree(desk),
        }
        if self.files is not None:
            trees[FILES] = self.files.tree
        connection = Connection(sock, Session(attach(trees), shared=self._shared), self._count)
        desk.connection = connection
        self._connections.add(connection)
        try:
            why = connection.run()
            if why is not None:
                self._endings.log(DEBUG, host, "%s:%d: connection ended: %s", host, port, why)
        finally:
            self._admission.left(host)
            self._connections.discard(connection)

    def _count(self, sent: int) -> None:
        self.sent += sent
        self._last_read = time.monotonic()

    def _tell_readers(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            self.news_round += 1
            for connection in list(self._connections):
                connection.retry()
            gevent.sleep(self._pace.pause)

    def ask_turn(self, slot: int, given: Stream, desk: Desk) -> None:
        """Somebody waits for a turn: a line goes into the stream when it comes."""
        self._turns.ask(slot, time.monotonic())
        self._waiting[slot] = given, desk
        self._turns_changed.set()

    def end_turn(self, slot: int) -> None:
        """Whoever it was has no use for a turn."""
        self._turns.end(slot)
        self._waiting.pop(slot, None)
        self._turns_changed.set()

    def _give_turns(self) -> None:
        while True:
            self._turns_changed.wait(_TICK if self._waiting else None)
            self._turns_changed.clear()
            for slot in self._turns.grant(time.monotonic()):
                given, desk = self._waiting.pop(slot)
                given.put(b"take\n")
                if desk.connection is not None:
                    desk.connection.retry()


class Desk:
    """What one connection asks of this server beyond files: that of `serve.swarm` and that of `classic.tree`."""

    def __init__(self, child: Child, host: str) -> None:
        self.connection: Connection | None = None
        self._child = child
        self._host = host
        self._slots: set[int] = set()
        """Those that have asked for a turn."""

    @property
    def served(self) -> Served | None:
        return self._child.served

    @property
    def manifest(self) -> Encoded | None:
        return self._child.manifest

    @property
    def debug(self) -> int:
        return self._child.debug

    @property
    def ending(self) -> bool:
        return self._child.ending

    @property
    def offers(self) -> bool:
        return False

    @property
    def news_round(self) -> int:
        return self._child.news_round

    def watch(self, news: Stream) -> None:
        if self._child.news is not None:
            news.put(self._child.news.encode())

    def register(self, report: Report) -> None:
        """Nodes are registered at the master only. But a peer that takes from here has something to give as well."""
        self._child.on_introduced((self._host, report.port), report.generation)

    def unregister(self, news: Stream) -> None:
        pass

    def ask(self, slot: int, granted: Stream) -> None:
        if slot not in self._slots and len(self._slots) >= SLOTS_LIMIT:
            raise NinepError(errno.EMFILE, "too many turns are asked for")
        self._slots.add(slot)
        self._child.ask_turn(slot, granted, self)

    def takes(self, chunks: bytes) -> None:
        pass

    def close_slot(self, slot: int) -> None:
        self._slots.discard(slot)
        self._child.end_turn(slot)

    def ask_status(self, answer: Answered) -> None:
        answer.put(json.dumps(self._child.status()).encode() + b"\n")

    def hides(self, path: bytes) -> None:
        pass

    def remark(self, line: str) -> None:
        self._child.remarks.log(INFO, "readers", "a reader says: %s", line)

    # What C clients want. Who has been sent here takes the file from here, and tells the master that he serves it.

    def redirect(self, file: Regular, answer: Answered) -> None:
        answer.put(ME)

    def checksum(self, file: Regular, answer: Answered) -> None:
        assert self.connection is not None
        self._child.checksums.ask(file, answer, self.connection.retry)

    def begin(self, file: Regular) -> None:
        self._child.downloading += 1

    def end(self, file: Regular) -> None:
        self._child.downloading -= 1

    def taken(self, file: Regular) -> None:
        pass

    def available(self, avail: int, file: Regular, said: Available) -> None:
        pass

    def unavailable(self, avail: int) -> None:
        pass
