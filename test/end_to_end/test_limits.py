"""What strangers may take of a real master, and that it serves others all the same."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master, eventually, status_of
from test.support.plain_client import PlainClient
from test.support.trees import small_tree
from xget_lib.errors import NinepError
from xget_lib.ninep.messages import ORDWR
from xget_lib.report.rate_limited_log import LINES
from xget_lib.swarm.messages import Registration

DESCRIPTORS = 128
"""Of each process in the tests that exhaust them: 32 connections a worker, and 32 open files."""


@pytest.fixture
def small(cluster: Cluster, tmp_path: Path) -> Iterator[Master]:
    """A master of one worker, with few descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    prefix = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    yield cluster.master(small_tree(tmp_path / "source"), "-w", "1", prefix=prefix)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_who_opens_too_many_files_is_refused_and_nobody_else_suffers(small: Master) -> None:
    workers = processes_of_workers(small)
    with ExitStack() as stack:
        greedy = [stack.enter_context(PlainClient(small.port, "files")) for _ in range(4)]
        opened = 0
        with pytest.raises(NinepError, match="Too many open files"):
            for number in range(DESCRIPTORS):
                greedy[number % 4].open("top")
                opened += 1
        assert opened == DESCRIPTORS // 4
        # Another is let in, and told what is served; what it may not have is open files.
        assert processes_of_workers(small) == workers
        with PlainClient(small.port, "files") as guest:
            assert guest.stat("top").length == 11
    with PlainClient(small.port, "files") as guest:
        assert eventually(lambda: opens(guest, "top"), "no file can be opened again")
    assert processes_of_workers(small) == workers


def processes_of_workers(master: Master) -> list[int]:
    """Without asking the master, which would have to open a file for it."""
    (nursery,) = children_of(master.pid)
    return sorted(children_of(nursery))


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def opens(client: PlainClient, name: str) -> bool:
    try:
        client.clunk(client.open(name))
    except NinepError:
        return False
    return True


def test_too_many_connections_are_closed_at_once_and_said_once(small: Master) -> None:
    """From one address, which gets half of what there is."""
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", small.port))) for _ in range(60)]
        for sock in socks:
            sock.setblocking(False)
        # Which of them are let in depends on when the one before them, that asked for the status, has left.
        assert eventually(lambda: sum(map(closed, socks)) >= 60 - DESCRIPTORS // 8, "they are let in")
        assert 60 - sum(map(closed, socks)) >= DESCRIPTORS // 8 - 1
        small.logged("127.0.0.1: connection refused: this host has reached its limit of 16 connections")
        assert small.log.read_text().count("connection refused") == 1
    assert eventually(small.serves, "nobody is let in any more")


def closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_many_nodes_are_summed_up_in_the_status_and_listed_in_a_file_of_their_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The list is longer than a message between processes."""
    master = cluster.master(small_tree(tmp_path / "source"))
    with ExitStack() as stack:
        for number in range(500):
            node = stack.enter_context(PlainClient(master.port, "swarm"))
            node.write(node.open("peers", mode=ORDWR), Registration(1025 + number, bytes(32), 0).encode())
        status = status_of(master.port)
        assert status["distribution"]["nodes"] == 500 and len(status["children"]) == 200
        with PlainClient(master.port, "swarm") as client:
            text = client.read_all("nodes")
        assert len(text) > 65536
        assert sorted(node["port"] for node in json.loads(text)["nodes"]) == list(range(1025, 1525))


def test_what_strangers_write_to_the_log_does_not_fill_it(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.master(small_tree(tmp_path / "source"))
    with PlainClient(master.port, "swarm") as talkative:
        log = talkative.open("log", mode=ORDWR)
        for number in range(10 * LINES):
            talkative.write(log, b"remark %d" % number)
        talkative.read_all("status")  # comes after all of them
    assert 1 <= master.log.read_text().count("message from 127.0.0.1: remark") <= LINES


@pytest.mark.parametrize(
    ("said", "answer", "why"),
    [
        # Who wants TLS learns that there is none.
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"\x15\x03\x03\x00\x02\x02\x46", "it wants TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", b"", "a message of"),
    ],
)
def test_who_speaks_something_else_is_closed_at_once_with_a_line_in_the_log(
    cluster: Cluster, tmp_path: Path, said: bytes, answer: bytes, why: str
) -> None:
    master = cluster.master(small_tree(tmp_path / "source"))
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", master.port), timeout=20) as stranger:
        stranger.sendall(said)
        assert stranger.recv(100) == answer
        assert stranger.recv(100) == b""
    assert time.monotonic() - begun < 20
    master.logged(f"connection closed: {why}")
    assert master.log.read_text().count("connection closed") == 1
