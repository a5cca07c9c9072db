"""Each limit of docs/operations.md, driven to its end by a hostile host, against a real master and a real child.

While it lasts, a client from another host connects, attaches and reads, again and again. It never fails, and never
waits for more than a deadline. The servers stay within 64 MiB of the memory that they had. The figures are printed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.end_to_end.test_limits import children_of
from test.support.cluster import Cluster, Master
from test.support.flood import Honest, Hostile, frames, hello, processor_seconds, resident
from test.support.plain_client import PlainClient
from xget_lib.ninep.limits import MAX_OPEN, MAX_REQUEST, MAX_WAITING
from xget_lib.ninep.messages import ORDWR, Tattach, Tclunk, Tflush, Topen, Tread, Tstat, Tversion, Twalk, Twrite
from xget_lib.ninep.wire import NOFID
from xget_lib.report.rate_limited_log import LINES
from xget_lib.serve.swarm import SLOTS_LIMIT

MEMORY = 64 << 20
"""Bytes that a server may have more than before."""
DEADLINE = 30.0
"""Seconds: the longest that one host may delay another."""
DESCRIPTORS = 16384
"""Of each process: 4,096 open files, and as many connections."""
FILES = 400


@dataclass
class Target:
    """A server under attack."""

    port: int
    processes: list[int]


@pytest.fixture
def target(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Iterator[Target]:
    """The parameter is "master" or "child"."""
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "top").write_bytes(b"at the top\n")
    (source / "large").write_bytes(os.urandom(4 << 20))
    for number in range(FILES):
        (source / "deep" / "er" / f"small{number:03}").write_bytes(bytes(8000))
    prefix = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    master = cluster.master(source, "-w", "1", prefix=prefix)
    if request.param == "master":
        yield Target(master.port, _processes(master))
        assert master.process.poll() is None
    else:
        client = cluster.client(master, tmp_path / "dest", options=["--linger", "forever"], prefix=prefix)
        pid = client.background()
        assert client.ended().status == 0
        (child,) = master.wait_for_children(1)
        yield Target(int(child["port"]), [pid])


def _processes(master: Master) -> list[int]:
    (nursery,) = children_of(master.pid)
    return [master.pid, *children_of(nursery)]


Flood = Callable[[Hostile], None]


def connections(hostile: Hostile) -> None:
    hostile.connect(6000)


def connections_that_attach(hostile: Hostile) -> None:
    hostile.pump(hostile.connect(6000), hello("swarm"))


def attaches(hostile: Hostile) -> None:
    """Row 8 of the table: 34 connections used up all fids of the process."""
    made = hostile.connect(34)
    hostile.pump(made, hello("swarm"))
    hostile.pump(made, frames(Tattach(fid, NOFID, "mallory", "swarm") for fid in range(1, 30_000)))


def walks(hostile: Hostile) -> None:
    made = hostile.connect(8)
    hostile.pump(made, hello("files"))
    hostile.pump(made, frames(Twalk(0, fid, ("deep", "er", "small007")) for fid in range(1, 20_000)))


def open_files(hostile: Hostile) -> None:
    """Row 8: 4 connections opened all files that the process may have open."""
    made = hostile.connect(4)
    hostile.pump(made, hello("files"))
    fids = range(1, MAX_OPEN + 1)
    hostile.pump(made, frames([message for fid in fids for message in (Twalk(0, fid, ("top",)), Topen(fid, 0))]))


def waiting_reads(hostile: Hostile) -> None:
    made = hostile.connect(100)
    hostile.pump(made, hello("swarm") + frames([Twalk(0, 1, ("peers",)), Topen(1, 0)]))
    hostile.pump(made, frames([Tread(1, 0, 100)] * (2 * MAX_WAITING), first_tag=10))


def tiny_requests(hostile: Hostile) -> None:
    """Row 11: they wait behind a read, and nobody reads the replies."""
    made = hostile.connect(40)
    hostile.pump(made, hello("files") + frames([Twalk(0, 1, ("large",)), Topen(1, 0)]), read=False)
    hostile.pump(made, frames([Tread(1, 0, 1 << 20)] * 8 + [Tclunk(99)] * 59_000, first_tag=10), read=False)


def flushes(hostile: Hostile) -> None:
    made = hostile.connect(40)
    hostile.pump(made, hello("swarm") + frames([Twalk(0, 1, ("peers",)), Topen(1, 0), Tread(1, 0, 100)]))
    hostile.pump(made, frames([Tflush(99)] * 59_000, first_tag=10), read=False)


def partial_messages(hostile: Hostile) -> None:
    made = hostile.connect(1000)
    hostile.pump(made, hello("swarm"))
    message = frames([Twrite(0, 0, bytes(MAX_REQUEST - 30))])
    hostile.pump(made, message[:-1])


def large_requests(hostile: Hostile) -> None:
    made = hostile.connect(40)
    hostile.pump(made, hello("swarm"))
    hostile.pump(made, frames([Twrite(0, 0, bytes((1 << 20) - 23))] * 10))
    hostile.pump(made, frames([Twrite(0, 0, bytes(MAX_REQUEST - 23))] * 40), read=False)


def unread_replies(hostile: Hostile) -> None:
    """Small files, which are read into memory."""
    made = hostile.connect(400)
    hostile.pump(made, hello("swarm") + frames([Twalk(0, 1, ("data",)), Topen(1, 0)]), read=False)
    hostile.pump(made, frames([Tread(1, 0, 1 << 20)] * 20, first_tag=10), read=False)


def slots(hostile: Hostile) -> None:
    """Rows 9 and 10: they are requested, and never used."""
    made = hostile.connect(60)
    hostile.pump(made, hello("swarm"))
    for name in ("offer", "turn"):
        fids = range(1, SLOTS_LIMIT + 1)
        said = [m for fid in fids for m in (Twalk(0, fid, (name,)), Topen(fid, ORDWR), Tread(fid, 0, 32))]
        hostile.pump(made, frames(said))


def status_texts(hostile: Hostile) -> None:
    made = hostile.connect(20)
    hostile.pump(made, hello("swarm"))
    fids = range(1, MAX_OPEN + 1)
    said = [m for fid in fids for m in (Twalk(0, fid, ("status",)), Topen(fid, 0), Tread(fid, 0, 1))]
    hostile.pump(made, frames(said), seconds=5)


def versions(hostile: Hostile) -> None:
    made = hostile.connect(100)
    hostile.pump(made, frames([Tversion(8192, "9P2000" + "x" * 4000)] * 2000), seconds=5)


def expensive_walks(hostile: Hostile) -> None:
    made = hostile.connect(200)
    hostile.pump(made, hello("files"))
    names = ("deep", "er", "..", "..") * 4
    hostile.pump(made, frames([Twalk(0, 1, names), Tclunk(1)] * 1500), seconds=5)


def directory_reads(hostile: Hostile) -> None:
    made = hostile.connect(200)
    hostile.pump(made, hello("files") + frames([Twalk(0, 1, ("deep", "er")), Topen(1, 0)]))
    hostile.pump(made, frames([Tread(1, 0, 65536)] * 100, first_tag=10), seconds=5)


def stats(hostile: Hostile) -> None:
    made = hostile.connect(1000)
    hostile.pump(made, hello("files"))
    hostile.pump(made, frames([Tstat(0)] * 2000), seconds=5)


def log_lines(hostile: Hostile) -> None:
    made = hostile.connect(40)
    hostile.pump(made, hello("swarm") + frames([Twalk(0, 1, ("log",)), Topen(1, ORDWR)]))
    hostile.pump(made, frames([Twrite(1, 0, b"\x1b[2Jforged\n" * 90)] * 500, first_tag=10), seconds=5)
    hostile.pump(hostile.connect(300), b"GET / HTTP/1.1\r\n\r\n")


FLOODS: list[Flood] = [
    connections,
    connections_that_attach,
    attaches,
    walks,
    open_files,
    waiting_reads,
    tiny_requests,
    flushes,
    partial_messages,
    large_requests,
    unread_replies,
    slots,
    status_texts,
    versions,
    expensive_walks,
    directory_reads,
    stats,
    log_lines,
]


AT_CHILD = (connections_that_attach, walks, tiny_requests, partial_messages, slots, expensive_walks)
"""A child serves in the same way. These touch what it has of its own, or cost most."""


@pytest.mark.parametrize(
    ("target", "flood"),
    [*(("master", flood) for flood in FLOODS), *(("child", flood) for flood in AT_CHILD)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
    indirect=["target"],
)
def test_a_flood_from_one_host_costs_others_no_more_than_its_share(
    flood: Flood, target: Target, tmp_path: Path
) -> None:
    honest = Honest(target.port)
    usual = max(honest.rounds(5))
    delays: list[float] = []
    before = [resident(pid) for pid in target.processes]
    used = sum(processor_seconds(pid) for pid in target.processes)
    hostile = Hostile(target.port)
    try:
        with honest.meanwhile(delays):
            flood(hostile)
        more = [resident(pid) - was for pid, was in zip(target.processes, before, strict=True)]
        used = sum(processor_seconds(pid) for pid in target.processes) - used
    finally:
        hostile.close()
    memory = ", ".join(f"{each / 2**20:+.1f}" for each in more)
    print(
        f"{flood.__name__}: memory {memory} MiB, processor {used:.1f} s, an honest client {max(delays):.2f} s at most"
        f" in {len(delays)} rounds, {usual:.3f} s usually"
    )
    assert max(delays) < 2 * usual + DEADLINE
    assert max(more) < MEMORY
    for log in tmp_path.glob("*.log"):
        assert log.read_text().count("127.0.0.2") < 4 * LINES + 10
        assert "\x1b" not in log.read_text() and "Traceback" not in log.read_text()


def test_idle_connections_give_way_to_a_new_host(cluster: Cluster, tmp_path: Path) -> None:
    """Three hosts have all connections of a master; each gets less than half of them. Everybody else is let in."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "top").write_bytes(b"at the top\n")
    master = cluster.master(source, "-w", "1", prefix=["prlimit", "--nofile=128:128"])
    with ExitStack() as stack:
        for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            for _ in range(14):
                sock = stack.enter_context(socket.socket())
                sock.bind((host, 0))
                sock.connect(("127.0.0.1", master.port))
                sock.sendall(hello("swarm"))
        guests = [stack.enter_context(PlainClient(master.port, "files")) for _ in range(6)]
        assert [guest.read_all("top") for guest in guests] == [b"at the top\n"] * 6
        master.logged("connections: all are in use, and this host has most of them")
