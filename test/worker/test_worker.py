"""A worker: what it does at each message of its master, and what it says."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent
import msgpack
import pytest
from gevent.queue import Queue

from test.support.backends import bytes_of
from test.support.downloads import manifest_of
from test.support.network import quiet_hub, until
from test.support.nodes import configured
from test.support.processes import PATIENCE
from xget_lib import ipc
from xget_lib.classic import messages
from xget_lib.errors import LinkLost, ProtocolViolation
from xget_lib.fs.stamp import no_stamps
from xget_lib.ipc.jobs import LoadDigestCache
from xget_lib.ninep.auth import Credentials
from xget_lib.ninep.dialect import NINEP2000, decode, encode
from xget_lib.ninep.messages import Rattach, Rversion, Tattach, Tversion
from xget_lib.ninep.wire import NOFID, NOTAG
from xget_lib.process.channel import pair
from xget_lib.process.memfd import memfd
from xget_lib.serve.access import Access
from xget_lib.worker import jobs, worker
from xget_lib.worker.worker import Worker


class Master:
    """The other end of a worker's channel. `sent` are the worker's messages, in order."""

    def __init__(self, access: Access | None = None) -> None:
        self.sent: list[ipc.Message] = []
        self._messages: Queue[tuple[list[Any], list[int]] | None] = Queue()
        self.worker = Worker(self, 0, access=access)  # type: ignore[arg-type]  # we are the channel
        self.running = gevent.spawn(self.worker.run)

    def send_to_worker(self, message: ipc.Message, *descriptors: int) -> None:
        self._messages.put((msgpack.unpackb(msgpack.packb(ipc.pack(message)), use_list=False), list(descriptors)))

    def end(self) -> None:
        self._messages.put(None)

    def receive(self) -> tuple[list[Any], list[int]] | None:
        return self._messages.get()

    def send(self, packed: Sequence[Any], descriptors: Sequence[int] = ()) -> None:
        self.sent.append(ipc.unpack(packed))


@pytest.fixture
def master() -> Iterator[Master]:
    with quiet_hub():
        made = Master()
        yield made
        made.end()
        made.running.join()


class Client:
    """A client of a connection that the master hands over."""

    def __init__(self, master: Master, number: int) -> None:
        self._sock, theirs = socket.socketpair()
        self._sock.setblocking(False)
        master.send_to_worker(ipc.Adopt(number, "10.0.0.1", 4711), theirs.detach())

    def attach(self) -> None:
        self._sock.send(encode(NOTAG, Tversion(8192, "9P2000"), NINEP2000))
        self._sock.send(encode(0, Tattach(0, NOFID, "glenda", "swarm"), NINEP2000))
        assert isinstance(self._receive(), Rversion)
        assert isinstance(self._receive(), Rattach)

    def close(self) -> None:
        self._sock.close()

    def _receive(self) -> object:
        gevent.socket.wait_read(self._sock.fileno())
        size = int.from_bytes(self._sock.recv(4), "little")
        return decode(size.to_bytes(4, "little") + self._sock.recv(size - 4), NINEP2000)[1]


def test_a_connection_that_is_handed_over_is_served_and_its_end_is_reported(master: Master) -> None:
    client = Client(master, 17)
    client.attach()
    master.send_to_worker(ipc.Ping())
    until(lambda: master.sent)
    assert master.sent == [ipc.Pong(1, 0)]
    client.close()
    until(lambda: len(master.sent) > 1)
    assert master.sent[1:] == [ipc.ConnectionClosed(17)]
    master.send_to_worker(ipc.Ping())
    until(lambda: len(master.sent) > 2)
    assert master.sent[2:] == [ipc.Pong(0, 0)]


def test_with_a_secret_the_master_hears_of_a_client_when_it_is_let_in() -> None:
    """Without keys nobody is: they come from the master."""
    with quiet_hub():
        master = Master(Access(Credentials(required=True), frozenset(["swarm"])))
        member, stranger = Client(master, 1), Client(master, 2)
        member.attach()
        stranger.close()
        until(lambda: len(master.sent) > 1)
        assert sorted(map(repr, master.sent)) == [repr(ipc.ConnectionClosed(2)), repr(ipc.LetIn(1))]
        master.send_to_worker(ipc.Keys((b"the key of the site",)))
        until(lambda: master.worker._access.credentials.keys)
        member.close()
        until(lambda: ipc.ConnectionClosed(1) in master.sent)
        master.end()
        master.running.join()


def test_a_connection_that_the_master_ends_is_closed_and_its_end_is_reported(master: Master) -> None:
    clients = [Client(master, number) for number in (1, 2)]
    for client in clients:
        client.attach()
    master.send_to_worker(ipc.EndConnection(1, "connections: all are in use"))
    master.send_to_worker(ipc.EndConnection(99, "it has ended meanwhile"))
    until(lambda: master.sent)
    assert master.sent == [ipc.ConnectionClosed(1)]
    # Also before it is served at all.
    late = Client(master, 3)
    master.send_to_worker(ipc.EndConnection(3, "connections: all are in use"))
    until(lambda: len(master.sent) > 1)
    assert master.sent[1:] == [ipc.ConnectionClosed(3)]
    master.send_to_worker(ipc.Ping())
    until(lambda: len(master.sent) > 2)
    assert master.sent[2:] == [ipc.Pong(1, 0)]
    for client in (*clients, late):
        client.close()


def test_all_files_of_a_connection_are_made_once(master: Master) -> None:
    """A client may attach 65,536 times."""
    client = Client(master, 1)
    client.attach()
    (found,) = master.worker._server.clients.values()
    connect = master.worker._connect(found)
    assert connect() is connect()
    client.close()


def test_a_generation_is_served_from_its_manifest_and_a_change_is_reported(master: Master, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 40_000)
    manifest = manifest_of(tmp_path)
    stamps = no_stamps(1).tobytes()
    base = bytes(tmp_path)
    master.send_to_worker(
        ipc.Serve(base, b""), memfd("manifest", manifest.encode()), memfd("stamps", stamps), os.open(base, os.O_PATH)
    )
    until(lambda: master.worker.served)
    served = master.worker.served
    assert served is not None and served.generation == manifest.generation and served.store.held.full
    content = served.store.read(0, 100)
    os.truncate(tmp_path / "file", 10)
    with pytest.raises(Exception, match="file"):
        bytes_of(content)
    assert master.sent == [ipc.Stale(manifest.generation, b"file")]


def test_a_message_for_a_connection_that_has_ended_is_dropped_and_its_descriptor_closed(master: Master) -> None:
    text = memfd("status", b"{}\n")
    master.send_to_worker(ipc.NewsLine(99, b"{}\n"))
    master.send_to_worker(ipc.Grant(99, 1, 1))
    master.send_to_worker(ipc.Status(99, "status"), text)
    master.send_to_worker(ipc.Ping())
    until(lambda: master.sent)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(text)


@pytest.mark.parametrize("message", [ipc.Pong(1, 2), messages.Unavailable(1, 2)], ids=["core", "classic"])
def test_a_message_that_no_master_sends_ends_the_worker(message: ipc.Message) -> None:
    with quiet_hub() as printed:
        master = Master()
        master.send_to_worker(message)
        with pytest.raises(ProtocolViolation, match=f"unexpected message {type(message).__name__} from the master"):
            master.running.get(timeout=PATIENCE)
        gevent.sleep(0)
        printed.truncate(0)


def test_a_worker_ends_when_the_master_sends_stop(master: Master) -> None:
    master.send_to_worker(ipc.Stop())
    master.running.join()
    assert master.running.successful()


def test_a_job_that_fails_for_an_unforeseen_reason_is_answered(
    master: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(job: ipc.Job, descriptors: Sequence[int]) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(jobs, "perform", broken)
    master.send_to_worker(ipc.Job(5, LoadDigestCache(b"", True)))
    until(lambda: master.sent)
    assert master.sent == [ipc.JobFailed(5, "internal error: RuntimeError: unforeseen")]
    assert "internal error" in caplog.text


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The worker's end of a channel, and the master's. A worker waits for a second."""
    monkeypatch.setattr(worker, "_WAIT", 0.1)
    monkeypatch.setattr(worker, "_MASTER_SILENT", 1.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def test_a_worker_ends_when_its_master_is_silent(channel: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(LinkLost, match="nothing received"):
        worker._wait_for_master(channel[0])


def test_a_worker_that_was_stopped_itself_waits_for_its_master_again(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    waiting = gevent.spawn(worker._wait_for_master, channel[0])
    gevent.sleep(0)
    time.sleep(3.0)  # as SIGSTOP does, it stops the whole process
    gevent.sleep(0.01)
    assert not waiting.ready(), "the master may have been stopped as well"
    channel[1].send(b"x")
    waiting.get(timeout=PATIENCE)


def test_a_worker_serves_the_directory_that_was_scanned_although_its_name_means_nothing_now(
    master: Master, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "file").write_bytes(b"x" * 40_000)
    manifest = manifest_of(served)
    base = os.open(served, os.O_PATH)
    served.rename(tmp_path / "elsewhere")
    descriptors = memfd("manifest", manifest.encode()), memfd("stamps", no_stamps(1).tobytes())
    master.send_to_worker(ipc.Serve(bytes(served), b""), *descriptors, base)
    until(lambda: master.worker.served)
    assert master.worker.served is not None
    assert bytes_of(master.worker.served.store.read(0, 40_000)) == b"x" * 40_000


def test_a_worker_that_fails_says_why() -> None:
    ours, theirs = pair()
    theirs.send(["Serve", b"/srv", b""])
    assert worker.run(ours, 1, configured(0)) == 1
    received = ipc.receive(theirs)
    assert received is not None
    assert received[0] == ipc.WorkerFailed("ProtocolViolation: Serve: 0 descriptors instead of 3")
    for end in (ours, theirs):
        end.close()
