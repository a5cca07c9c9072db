"""One host that asks a master for everything, takes nothing, or floods it does not hold up another host.

The hostile host is 127.0.0.2, the honest client 127.0.0.1.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from test.support.cluster import Cluster, Master
from test.support.plain_client import PlainClient
from test.support.trees import differences, noise
from xget_lib.ninep.messages import ORDWR, Tclunk, TMessage, Topen, Tread, Twalk, Twrite
from xget_lib.swarm.messages import Registration

HOSTILE = "127.0.0.2"
SLOTS = 16
DEADLINE = 30.0
"""Seconds that an honest client may need, besides twice its time without faults."""
MEMORY = 64 << 20
"""Bytes by which no process may grow."""
FLOOD_SECONDS = 6.0


def hold_slots(stack: ExitStack, master: Master, connections: int) -> None:
    """Ask for chunks with all slots of so many connections, and take none."""
    for _ in range(connections):
        holder = stack.enter_context(PlainClient(master.port, "swarm", source=HOSTILE))
        fids = [holder.open("offer", mode=ORDWR) for _ in range(SLOTS)]
        holder.send(*(Tread(fid, 0, 32) for fid in fids))


def seconds_of(cluster: Cluster, master: Master, source: Path, name: str) -> float:
    """How long an honest client needs for a copy that is right."""
    begun = time.monotonic()
    ended = cluster.get(master, cluster.base / name)
    took = time.monotonic() - begun
    assert ended.status == 0, ended.stderr
    assert differences(source, cluster.base / name) == []
    return took


@pytest.fixture
def source(cluster: Cluster) -> Path:
    made = cluster.base / "source"
    made.mkdir()
    return made


@pytest.mark.parametrize("connections", [1, 60])
@pytest.mark.parametrize("size", [262_144, 40_000_000])
def test_a_host_that_holds_slots_and_takes_nothing(cluster: Cluster, source: Path, connections: int, size: int) -> None:
    (source / "file").write_bytes(noise(size, 1))
    master = cluster.master(source)
    usual = seconds_of(cluster, master, source, "before")
    with ExitStack() as stack:
        hold_slots(stack, master, connections)
        took = seconds_of(cluster, master, source, "during")
    print(f"{connections} connections, {size} bytes: {took:.1f} s instead of {usual:.1f} s")
    assert took < 2 * usual + DEADLINE


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pids: Iterable[int]) -> dict[int, int]:
    """Bytes that processes have in memory."""
    lines = {pid: Path(f"/proc/{pid}/status").read_text().splitlines() for pid in pids}
    return {pid: 1024 * int(next(each for each in lines[pid] if "VmRSS" in each).split()[1]) for pid in lines}


def requests(kind: str, client: PlainClient, status: dict[str, object]) -> Sequence[TMessage]:
    """Some hundred requests of a kind; they can be sent again and again."""
    generation, chunks = bytes.fromhex(str(status["generation"])), int(str(status["chunks"]))

    def writes(name: str, lines: Iterable[bytes]) -> Sequence[TMessage]:
        fid = client.open(name, mode=ORDWR)
        return [Twrite(fid, 0, line) for line in lines]

    def opens(name: str, *then: TMessage) -> Sequence[TMessage]:
        return [Twalk(0, 900, (name,)), Topen(900, 0), *then, Tclunk(900)] * 60

    here, elsewhere = Registration(1025, generation, 0), Registration(1026, bytes([1]) * 32, 0)
    complete, failed = replace(here, held=chunks), replace(here, ended="failed", why="x" * 300)
    match kind:
        case "wants":
            return writes("offer", (bytes([number]) * (chunks // 8 + 1) for number in range(250)))
        case "large wants":
            return writes("offer", [bytes([255]) * 60_000] * 40)
        case "registrations":
            return writes("peers", [each.encode() for each in (here, elsewhere, complete)] * 80)
        case "ends":
            return writes("peers", [each.encode() for each in (here, failed)] * 100)
        case "log lines":
            return writes("log", (b"%d " % number * 100 for number in range(250)))
        case "status" | "offer":
            return opens(kind, Tread(900, 0, 100))
    return opens(kind)


KINDS = ["wants", "large wants", "registrations", "ends", "log lines", "status", "offer", "peers"]


@contextmanager
def flooded(master: Master, kind: str) -> Iterator[list[int]]:
    """Three connections of the hostile host send as fast as they can. Yields a list that counts the requests."""
    status = master.status()
    stop, sent = threading.Event(), [0]

    def flood() -> None:
        with suppress(OSError), PlainClient(master.port, "swarm", source=HOSTILE) as client:
            messages = requests(kind, client, status)
            while not stop.is_set():
                client.flood(messages)
                sent[0] += len(messages)

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_that_floods_the_master_with_messages(cluster: Cluster, source: Path, kind: str) -> None:
    (source / "file").write_bytes(noise(20_000_000, 1))
    master = cluster.master(source)
    usual = seconds_of(cluster, master, source, "before")
    before = memory([master.pid, *master.workers()])
    with flooded(master, kind) as sent:
        begun, cpu = time.monotonic(), cpu_seconds(master.pid)
        took = seconds_of(cluster, master, source, "during")
        while time.monotonic() < begun + FLOOD_SECONDS:
            master.status()
        share = (cpu_seconds(master.pid) - cpu) / (time.monotonic() - begun)
        after = memory(before)
        grown = max(after[pid] - before[pid] for pid in before)
        print(f"{kind}: {sent[0]} requests, master {share:.0%} of a processor, {grown >> 20} MiB more")
        print(f"{kind}: {took:.1f} s instead of {usual:.1f} s")
    assert took < 2 * usual + DEADLINE
    assert grown < MEMORY
    # A burst passes at first. Without a limit it is nearly all of a processor.
    assert share < 0.5
    assert master.status()["generation"]
