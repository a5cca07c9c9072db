"""C clients, master and nodes together: who is sent where, who is dropped, and that nobody gets less than he asked for.

The C clients are modelled (`test.support.c_client`); where one has to be killed it is a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from test.support.c_client import CClient, Connection
from test.support.cluster import ROOT, Cluster, Master, eventually
from test.support.leftovers import MARK
from test.support.processes import PATIENCE, line_from
from test.support.relay import MIB, Relay
from test.support.trees import mixed_tree, noise, write
from xget_lib.errors import NinepError
from xget_lib.ninep import messages
from xget_lib.ninep.dialect import decode, encode

IMAGE = noise(6 * MIB, 3)
HALF = 3 * MIB


@pytest.fixture
def source(cluster: Cluster) -> Path:
    source = cluster.base / "served"
    source.mkdir()
    write(source / "image", IMAGE)
    write(source / "initrd", noise(100_000, 5))
    return source


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Process:
    """A C client of one file, in a process of its own."""

    def __init__(self, cluster: Cluster, port: int, path: str, *options: str) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "test.support.c_client", str(port), path, *options],
            cwd=ROOT,
            env={**os.environ, MARK: cluster.mark},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self.said("serves"))

    def said(self, word: str) -> str:
        """The rest of the next line, which begins with a word."""
        assert self._popen.stdout
        line = line_from(self._popen.stdout.fileno())
        assert line.startswith(f"{word} "), line
        return line.removeprefix(f"{word} ")

    def go_on(self) -> None:
        assert self._popen.stdin
        self._popen.stdin.write(b"\n")
        self._popen.stdin.flush()

    def stop(self) -> None:
        """It clunks what it said, and ends."""
        assert self._popen.stdin
        self._popen.stdin.close()
        assert self._popen.wait(PATIENCE) == 0
        self._close()

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait(PATIENCE)
        self._close()

    def _close(self) -> None:
        assert self._popen.stdin and self._popen.stdout
        self._popen.stdin.close()
        self._popen.stdout.close()


def relays(master: Master, count: int) -> list[dict[str, object]]:
    """Until so many C clients are registered; what the status says of them."""

    def looked() -> list[list[dict[str, object]]]:
        clients: list[dict[str, object]] = master.status()["c_clients"]
        return [clients] if len(clients) == count else []

    return eventually(looked, f"{count} C clients that serve")[0]


def got(content: bytes) -> str:
    return f"{len(content)} {zlib.adler32(content)}"


def test_a_tree_comes_as_it_is(cluster: Cluster, stack: ExitStack) -> None:
    """All that is shown of it: no links, and no names that are no text."""
    source = mixed_tree(cluster.base / "served", files=40)
    client = CClient(cluster.master(source).port)
    stack.callback(client.close)
    tree = client.tree()
    expected: dict[str, bytes | None] = {}
    for path in source.rglob("*"):
        name = str(path.relative_to(source))
        if path.is_symlink() or not os.fsencode(name).isascii():
            continue
        expected[name] = None if path.is_dir() else path.read_bytes()
    assert tree == expected


def test_clients_are_sent_to_each_other_and_dropped_when_they_go(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, "-m", "1")
    first = Process(cluster, master.port, "image", "--pause", str(HALF))
    assert first.said("from") == "me"
    first.said("paused")
    (listed,) = relays(master, 1)
    assert {key: listed[key] for key in ("address", "port", "files")} == {
        "address": "127.0.0.1",
        "port": first.port,
        "files": 1,
    }
    second = Process(cluster, master.port, "image")
    assert second.said("from") == f"127.0.0.1!{first.port}"
    relays(master, 2)
    first.go_on()
    assert [first.said("got"), second.said("got")] == [got(IMAGE)] * 2
    first.stop()
    (listed,) = relays(master, 1)
    assert listed["port"] == second.port
    third = Process(cluster, master.port, "image")
    assert third.said("from") in ("me", f"127.0.0.1!{second.port}")
    assert third.said("got") == got(IMAGE)
    second.kill()
    third.kill()
    relays(master, 0)


def test_a_killed_relay_is_named_to_nobody_any_more(cluster: Cluster, source: Path) -> None:
    master = cluster.master(source, "-m", "1")
    first = Process(cluster, master.port, "image", "--pause", str(HALF))
    first.said("from")
    first.said("paused")
    relays(master, 1)
    second = Process(cluster, master.port, "image", "--pause", "65536")
    assert second.said("from") == f"127.0.0.1!{first.port}"
    second.said("paused")
    first.kill()
    second.go_on()
    assert "closed the connection" in second.said("failed")
    second.kill()
    relays(master, 0)
    third = Process(cluster, master.port, "image")
    assert third.said("from") == "me"
    assert third.said("got") == got(IMAGE)
    third.stop()


def test_clients_are_sent_to_a_node_that_holds_everything(cluster: Cluster, source: Path, stack: ExitStack) -> None:
    master = cluster.master(source)
    client = cluster.client(master, cluster.base / "dest")
    node = client.background()
    assert client.ended().status == 0
    (child,) = master.wait_for_children(1)
    c_client = CClient(master.port)
    stack.callback(c_client.close)
    told: list[str] = []
    assert c_client.get("image", told=told.append) == IMAGE
    assert told[0] == f"from 127.0.0.1!{child['port']}"
    assert c_client.get("initrd", told=told.append) == noise(100_000, 5)
    # A node that has gone is named to nobody.
    os.kill(node, signal.SIGKILL)
    eventually(lambda: not master.children(), "the node is dropped")
    later = CClient(master.port)
    stack.callback(later.close)
    told.clear()
    assert later.get("initrd", told=told.append) == noise(100_000, 5)
    assert told[0] in ("from me", f"from 127.0.0.1!{c_client.port}")


def test_what_a_node_does_not_hold_yet_is_waited_for(cluster: Cluster, source: Path, stack: ExitStack) -> None:
    """A C client reads at a node that is half done; it gets the rest when the node does."""
    master = cluster.master(source)
    relay = stack.enter_context(Relay(master.port, hold_after=2 * MIB))
    client = cluster.client(relay, cluster.base / "dest")
    relay.wait_until_it_holds()
    (child,) = eventually(master.children, "the node has said where it serves")
    at_node = Connection(child["port"])
    stack.callback(at_node.close)
    assert at_node.text("image", "redir") == "me"
    data = at_node.open("image", "data")
    at_node.sock.sendall(
        b"".join(
            encode(tag, messages.Tread(data, tag * 32768, 32768), at_node.dialect) for tag in range(len(IMAGE) // 32768)
        )
    )
    relay.open()
    content: dict[int, bytes] = {}
    while len(content) < len(IMAGE) // 32768:
        size = at_node._take(4)
        tag, reply = decode(size + at_node._take(int.from_bytes(size, "little") - 4), at_node.dialect)
        assert isinstance(reply, messages.Rread)
        content[tag] = bytes(reply.data)
    assert b"".join(content[tag] for tag in sorted(content)) == IMAGE
    assert at_node.text("image", "checksum") == str(zlib.adler32(IMAGE))
    assert client.ended().status == 0


def waiting_read(port: int, stack: ExitStack) -> tuple[Connection, int]:
    """A C client that has read the begin of a file, and has nothing on its way."""
    connection = Connection(port)
    stack.callback(connection.close)
    data = connection.open("image", "data")
    assert connection.read(data, 0) == IMAGE[:32768]
    return connection, data


def test_a_master_that_ends_tells_its_c_clients_before(cluster: Cluster, source: Path, stack: ExitStack) -> None:
    """They take the end of the connection for the end of the file."""
    master = cluster.master(source)
    connection, data = waiting_read(master.port, stack)
    master.signal(signal.SIGTERM)
    master.logged("stopping: SIGTERM")
    offset = 32768
    with pytest.raises(NinepError, match="the server is shutting down"):
        while True:
            offset += len(connection.read(data, offset % len(IMAGE)))
    connection.close()
    assert master.ended().status == 0


def test_a_node_that_ends_tells_its_c_clients_before(cluster: Cluster, source: Path, stack: ExitStack) -> None:
    master = cluster.master(source)
    client = cluster.client(master, cluster.base / "dest")
    node = client.background()
    assert client.ended().status == 0
    (child,) = master.wait_for_children(1)
    connection, data = waiting_read(child["port"], stack)
    os.kill(node, signal.SIGTERM)
    offset = 32768
    with pytest.raises(NinepError, match="the server is shutting down"):
        while True:
            offset += len(connection.read(data, offset % len(IMAGE)))


def test_a_download_that_is_interrupted_tells_those_who_wait(cluster: Cluster, source: Path, stack: ExitStack) -> None:
    master = cluster.master(source)
    relay = stack.enter_context(Relay(master.port, hold_after=2 * MIB))
    client = cluster.client(relay, cluster.base / "dest")
    relay.wait_until_it_holds()
    (child,) = eventually(master.children, "the node has said where it serves")
    connection = Connection(child["port"])
    stack.callback(connection.close)
    data = connection.open("image", "data")
    client.signal(signal.SIGTERM)
    with pytest.raises(NinepError, match="the server is shutting down"):
        for offset in range(0, len(IMAGE), 32768):
            connection.read(data, offset)
    connection.close()
    assert client.ended().status == 143


def test_a_file_that_changes_is_an_error_and_then_the_new_file(
    cluster: Cluster, source: Path, stack: ExitStack
) -> None:
    master = cluster.master(source)
    connection, data = waiting_read(master.port, stack)
    changed = noise(6 * MIB, 4)
    generation = master.status()["generation"]
    write(source / "image", changed)
    with pytest.raises(NinepError, match="stale generation"):
        connection.read(data, 32768)
    eventually(lambda: master.status()["generation"] != generation, "the master has looked again")
    later = CClient(master.port)
    stack.callback(later.close)
    assert later.get("image") == changed


def test_what_a_stranger_writes_makes_nobody_a_server(cluster: Cluster, source: Path, stack: ExitStack) -> None:
    master = cluster.master(source)
    connection = Connection(master.port)
    stack.callback(connection.close)
    avail = connection.open("image", "avail", mode=messages.OWRITE)
    with pytest.raises(NinepError):
        connection.write(avail, b"43067 me")
    connection.write(avail, b"43067 me\0")
    relays(master, 1)
    connection.call(messages.Tclunk(avail))
    relays(master, 0)


def test_clients_of_a_worker_that_dies_are_dropped(cluster: Cluster, source: Path, stack: ExitStack) -> None:
    """Nobody is left to say that they have gone."""
    master = cluster.master(source, "-w", "1")
    connection = Connection(master.port)
    stack.callback(connection.close)
    avail = connection.open("image", "avail", mode=messages.OWRITE)
    connection.write(avail, b"43067 me\0")
    relays(master, 1)
    (worker,) = master.workers()
    os.kill(worker, signal.SIGKILL)

    def replaced() -> bool:
        with suppress(OSError):  # of the one that has just died
            return master.workers() not in ([], [worker])
        return False

    eventually(replaced, "another worker")
    relays(master, 0)
