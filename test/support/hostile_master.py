"""A master that does one thing wrong, as a process of its own: `python -m test.support.hostile_master KIND DIRECTORY`.

It prints its port, and serves until it is killed. But for its one fault it is a master that serves DIRECTORY. The kinds
are the functions below; `stop_at_NAME` stops the process (SIGSTOP) when the file NAME of the namespace is opened.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import gevent

from test.support.backends import RecordingBackend, served
from test.support.cluster import ROOT
from test.support.downloads import manifest_of
from test.support.leftovers import MARK
from test.support.manifests import PLAIN, nested
from test.support.processes import line_from
from test.support.swarm_server import SwarmServer
from xget_lib.errors import NinepError
from xget_lib.manifest.index import MANIFEST_LIMIT
from xget_lib.manifest.manifest import Manifest, Omitted
from xget_lib.manifest.signature import Signature
from xget_lib.manifest.table import Table
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.file import File, Handle
from xget_lib.ninep.messages import Rversion
from xget_lib.ninep.wire import NOTAG
from xget_lib.serve.served import EncodedManifest
from xget_lib.serve.swarm import master_tree
from xget_lib.serve.synthetic import DeferredText, Stream, root
from xget_lib.signing import signature_file
from xget_lib.swarm.messages import Freshness, News

FORGED = "\x1b]0;x\x07\r\nxget: everything is in place and verified"


@dataclass(frozen=True)
class HostileMaster:
    """A running one."""

    port: int
    pid: int


@contextmanager
def hostile_master(kind: str, directory: Path, mark: str) -> Iterator[HostileMaster]:
    """Runs one. `mark` is that of the cluster of the test."""
    command = [sys.executable, "-m", "test.support.hostile_master", kind, str(directory)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield HostileMaster(int(line_from(process.stdout.fileno())), process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


class Backend(RecordingBackend):
    """Of a master that offers each chunk in turn to whoever asks."""

    def __init__(self, directory: Path) -> None:
        self.retry: Callable[[], None] = lambda: None
        self.peers: tuple[tuple[str, int], ...] = ()
        self.freshness = Freshness()
        self.signature: Signature | None = None
        self.manifest_size: int | None = None
        self.offer: bytes | None = None
        """What each read of `offer` answers; None: the number of the next chunk. Empty: it does not answer."""
        self._next = 0
        self.use(manifest_of(directory), directory)

    def use(self, manifest: Manifest, directory: Path) -> None:
        """Serve this from now on."""
        super().__init__(served(directory, manifest))

    @property
    def news_line(self) -> bytes:
        assert self.served is not None and self.manifest is not None
        size = self.manifest.size if self.manifest_size is None else self.manifest_size
        news = News(self.served.generation, size, self.peers, freshness=self.freshness, signature=self.signature)
        return news.encode()

    def subscribe(self, news: Stream) -> None:
        super().subscribe(news)
        news.put(self.news_line)
        gevent.spawn(self.retry)

    def request_slot(self, slot: int, answers: Stream) -> None:
        assert self.served is not None
        chunks = self.served.store.layout.chunk_count
        line = b"%d\n" % (self._next % max(1, chunks)) if self.offer is None else self.offer
        self._next += 1
        if line:
            answers.put(line)
            gevent.spawn(self.retry)

    def request_status(self, answer: DeferredText) -> None:
        answer.put(b"{}\n")


@dataclass
class Plan:
    """What a kind changes: the backend, and files of the namespace by name (how one is opened)."""

    backend: Backend
    directory: Path
    files: dict[str, Callable[[], Handle]] = field(default_factory=dict)
    refuses_attach: bool = False

    def tree(self, backend: RecordingBackend) -> File:
        if self.refuses_attach:
            raise NinepError(errno.EIO, FORGED)
        honest = master_tree(backend)
        files = honest.files or {}
        return root(
            replace(file, opened=self.files[name]) if name in self.files else file for name, file in files.items()
        )


def _refusal() -> Handle:
    raise NinepError(errno.EIO, FORGED)


class _Answering(Handle):
    """Answers each read with what a function of offset and count gives."""

    def __init__(self, answer: Callable[[int, int], bytes]) -> None:
        self._answer = answer

    def read(self, offset: int, count: int) -> bytes:
        return self._answer(offset, count)


def refuse_attach(plan: Plan) -> None:
    plan.refuses_attach = True


def refuse_peers(plan: Plan) -> None:
    plan.files["peers"] = _refusal


def refuse_manifest(plan: Plan) -> None:
    plan.files["manifest"] = _refusal


def refuse_data(plan: Plan) -> None:
    plan.files["data"] = _refusal


def refuse_offer(plan: Plan) -> None:
    plan.files["offer"] = _refusal


def refuse_reads(plan: Plan) -> None:
    def refuse(offset: int, count: int) -> bytes:
        raise NinepError(errno.EIO, FORGED)

    plan.files["data"] = lambda: _Answering(refuse)


def wrong_content(plan: Plan) -> None:
    plan.files["data"] = lambda: _Answering(lambda offset, count: b"?" * count)


def forged_offer(plan: Plan) -> None:
    plan.backend.offer = FORGED.encode()


def forged_places(plan: Plan) -> None:
    plan.files["places"] = lambda: _Answering(lambda offset, count: b"" if offset else FORGED.encode())


def forged_problem(plan: Plan) -> None:
    plan.backend.freshness = Freshness(problem=FORGED)


def forged_manifest(plan: Plan) -> None:
    plan.backend.manifest = EncodedManifest.of(FORGED.encode())


def forged_user(plan: Plan) -> None:
    _use(plan, lambda manifest: replace(manifest, users={manifest.entries.metadata(0).uid: FORGED}))


def forged_reason(plan: Plan) -> None:
    _use(plan, lambda manifest: replace(manifest, omitted=(Omitted(b"x", FORGED),)))


def forged_omitted_path(plan: Plan) -> None:
    _use(plan, lambda manifest: replace(manifest, omitted=(Omitted(FORGED.encode(), "Permission denied"),)))


def forged_attribute(plan: Plan) -> None:
    """An attribute of a namespace that no file system has."""

    def change(manifest: Manifest) -> Manifest:
        entries = manifest.entries
        xattrs = ((FORGED.encode(), b"x"), (b"user." + FORGED.encode(), b"x"))
        changed = tuple(replace(each, xattrs=xattrs) for each in entries.distinct_metadata)
        return replace(manifest, entries=replace(entries, distinct_metadata=changed))

    _use(plan, change)


def _use(plan: Plan, change: Callable[[Manifest], Manifest]) -> None:
    assert plan.backend.served is not None
    plan.backend.use(change(plan.backend.served.store.manifest), plan.directory)


# What is signed, in DIRECTORY/../xget.sig.


def signed_altered_manifest(plan: Plan) -> None:
    """Every file becomes a set-user-ID program."""
    _sign(plan)
    altered_manifest(plan)


def altered_manifest(plan: Plan) -> None:
    assert plan.backend.served is not None
    manifest = plan.backend.served.store.manifest
    metadata = tuple(replace(each, mode=each.mode | 0o4111) for each in manifest.entries.distinct_metadata)
    altered = replace(manifest, entries=replace(manifest.entries, distinct_metadata=metadata))
    plan.backend.manifest = EncodedManifest.of(altered.encode())


def signed_wrong_content(plan: Plan) -> None:
    _sign(plan)
    wrong_content(plan)


def _sign(plan: Plan) -> None:
    assert plan.backend.served is not None
    generation = plan.backend.served.generation
    there = signature_file.read(bytes(plan.directory.parent / "xget.sig"))
    plan.backend.signature = next(each.signature for each in there if each.generation == generation)


# Waiting without an end.


def no_news(plan: Plan) -> None:
    plan.backend.subscribe = lambda news: None  # type: ignore[method-assign]


def no_offers(plan: Plan) -> None:
    plan.backend.offer = b""


def drip_manifest(plan: Plan) -> None:
    """One byte each second."""

    def drip(offset: int, count: int) -> bytes:
        gevent.sleep(1)
        return b"x"

    plan.backend.manifest_size = 1_000_000
    plan.files["manifest"] = lambda: _Answering(drip)


def endless_manifest(plan: Plan) -> None:
    plan.backend.manifest_size = MANIFEST_LIMIT << 20
    plan.files["manifest"] = lambda: _Answering(lambda offset, count: bytes(count))


def drip_content(plan: Plan) -> None:
    def drip(offset: int, count: int) -> bytes:
        gevent.sleep(1)
        return b"x"

    plan.files["data"] = lambda: _Answering(drip)


def new_generations(plan: Plan) -> None:
    """One each third of a second, none of which can be had."""
    plan.backend.offer = b""

    def publish() -> None:
        number = 0
        while True:
            gevent.sleep(0.3)
            number += 1
            entries = manifest_of(plan.directory).entries
            news = list(plan.backend.news)
            digest = number.to_bytes(32, "little")
            manifest = Manifest(entries, digest * (len(entries.files) and entries.layout.piece_count), {}, {})
            backend_state = plan.backend.retry
            plan.backend.use(manifest, plan.directory)
            plan.backend.retry = backend_state
            plan.backend.offer = b""
            plan.backend.news = news
            for stream in news:
                stream.put(plan.backend.news_line)
            plan.backend.retry()

    gevent.spawn(publish)


# What is too large.


def deep_manifest(plan: Plan) -> None:
    plan.backend.use(nested(20_000), plan.directory)


def many_entries(plan: Plan) -> None:
    """Three million empty files: to decode and lay them out takes seconds."""
    count = 3_000_000
    names = b"\0" + b"".join(b"%07d\0" % number for number in range(count))
    zeros = memoryview(bytes(8 * (count + 1))).cast("Q")
    indexes = memoryview(bytes(4 * (count + 1))).cast("I")
    entries = Table(b"d" + b"f" * count, names, [count], (PLAIN,), indexes, zeros, zeros[1:], [], b"", [], {})
    encoded = Manifest(entries, b"", {}, {})
    plan.backend.manifest = EncodedManifest.of(encoded.encode())
    generation = encoded.generation
    size = plan.backend.manifest.size
    line = News(generation, size, ()).encode()

    def subscribe(news: Stream) -> None:
        news.put(line)
        gevent.spawn(plan.backend.retry)

    plan.backend.subscribe = subscribe  # type: ignore[method-assign]


def many_peers(plan: Plan) -> None:
    plan.backend.offer = b""
    plan.backend.peers = tuple((f"10.{number >> 8}.{number & 255}.1", 9) for number in range(1500))


def named_peers(plan: Plan) -> None:
    plan.backend.offer = b""
    plan.backend.peers = (("head", 9),)


def stranger(data: bytes) -> None:
    """Answers each connection with these bytes."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        connection.sendall(data)


def main(kind: str, directory: Path) -> None:
    if kind == "stranger":
        stranger(FORGED.encode() * 100)
    elif kind == "other_version":
        stranger(encode(NOTAG, Rversion(8192, FORGED), NINEP2000))
    backend = Backend(directory)
    plan = Plan(backend, directory)
    name = kind.removeprefix("stop_at_")
    if name != kind:
        honest = (master_tree(backend).files or {})[name]

        def stop() -> Handle:
            os.kill(os.getpid(), signal.SIGSTOP)
            return honest.opened()

        plan.files[name] = stop
    else:
        globals()[kind](plan)
    server = SwarmServer(backend, plan.tree)
    backend.retry = server.retry
    print(server.address[1], flush=True)
    gevent.wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
