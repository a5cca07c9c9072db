"""A master with a slow link, an honest client, and a hostile host, in a network namespace of their own. Needs root.

    python -m test.support.shared_link reads DIRECTORY       the hostile host reads content on ten connections
    python -m test.support.shared_link holds DIRECTORY       eight hostile hosts hold each offer, and take nothing

To be run by `measured`. Prints what the client needed, without and with them, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from test.faults.hosts import Host, Network, do
from test.support.cluster import ROOT, Cluster, eventually
from test.support.plain_client import MSIZE, PlainClient
from test.support.processes import PATIENCE
from test.support.trees import differences, noise, write
from xget_lib.errors import NinepError
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import ORDWR, Tread

PROGRAMS = ("setpriv", "unshare", "nsenter", "ip", "tc", "mount")
PORT = 20004
SIZE = 24_000_000
MEGABITS = 100
CONNECTIONS = 10
HOSTS = 8
HELD = 0.95
"""Seconds: a chunk is stuck after one."""
_IN_FLIGHT = 16
_REPLY = MSIZE - 13
"""Bytes of a reply to each request for content."""
_LIMIT = 10 * PATIENCE
_ALONE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
_ALONE += ["--mount-proc", "--propagation", "private"]


@dataclass(frozen=True)
class Measured:
    alone: float
    """Seconds that the client needs without the hostile hosts,"""
    together: float
    """and with them."""
    hostile: float
    """Bytes that the hostile hosts got for each byte of the client, from its first to its last."""


def measured(kind: str, directory: Path) -> Measured:
    """What this program finds, run in namespaces of its own. The kernel ends all that is in them."""
    command = [*_ALONE, sys.executable, "-m", "test.support.shared_link", kind, str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


class Hostile:
    """Connections of this process, each in a thread. `got` counts the bytes of all."""

    def __init__(self, master: str) -> None:
        self.got = 0
        self._master = master
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def reads(self) -> None:
        for _ in range(CONNECTIONS):
            self._spawn(self._read)

    def holds(self) -> None:
        for number in range(HOSTS):
            address = f"10.77.0.{100 + number}"
            do("ip", "address", "add", f"{address}/24", "dev", "bridge")
            self._spawn(self._hold, address)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _spawn(self, act: object, *arguments: str) -> None:
        self._threads.append(threading.Thread(target=act, args=arguments))  # type: ignore[arg-type]
        self._threads[-1].start()

    def _read(self) -> None:
        """Read content, with several requests in flight, as fast as it comes."""
        with suppress(OSError), PlainClient(PORT, "swarm", self._master) as client:
            data = client.open("data")
            requests = [encode(tag, Tread(data, 0, MSIZE - 24), NINEP2000) for tag in range(256)]
            asked = received = 0
            while not self._over.is_set():
                while asked < received // _REPLY + _IN_FLIGHT:
                    client.sock.sendall(requests[asked % 256])
                    asked += 1
                count = len(client.sock.recv(1 << 20))
                self.got += count
                received += count

    def _hold(self, source: str) -> None:
        """Ask for a chunk, hold it, say that it has arrived, and ask for the next."""
        with suppress(OSError), PlainClient(PORT, "swarm", self._master, source=source) as client:
            offer = client.open("offer", mode=ORDWR)
            client.sock.settimeout(0.5)
            while not self._over.is_set():
                client.sock.sendall(encode(1, Tread(offer, 0, 32), NINEP2000))
                while not self._over.is_set():
                    with suppress(TimeoutError):
                        client.sock.recv(100)
                        break
                self._over.wait(HELD)


def serves(master: Host) -> bool:
    with suppress(OSError, NinepError), PlainClient(PORT, "swarm", master.address) as client:
        return json.loads(client.read_all("status"))["generation"] is not None
    return False


def download(
    cluster: Cluster, master: Host, client: Host, source: Path, name: str, got: Callable[[], int]
) -> tuple[float, float]:
    """How long an honest client needs for a copy that is right, and how many bytes somebody else gets for each byte of
    it. `got` says how many he has."""
    dest = cluster.base / name
    begun = time.monotonic()
    options = ["-n", master.address, "-p", str(PORT), "--linger", "0", "--log", str(cluster.base / f"{name}.log")]
    running = cluster.start(*options, ".", dest, prefix=client.prefix, json_events=True)
    fetched = running.progressed()
    before = got()
    ended = running.ended(_LIMIT)
    seconds, others = time.monotonic() - begun, got() - before
    assert ended.status == 0, ended.stderr
    assert differences(source, dest) == []
    return seconds, others / (SIZE - fetched)


def main(kind: str, directory: Path) -> Measured:
    do("mount", "-t", "tmpfs", "none", "/run")  # sockets and locks of other masters
    network, cluster = Network(), Cluster(directory)
    with ExitStack() as stack:
        stack.callback(network.close)
        stack.callback(cluster.close)
        source = directory / "source"
        source.mkdir()
        write(source / "file", noise(SIZE, 1))
        head, node = network.host(MEGABITS), network.host(10 * MEGABITS)
        cluster.start("-p", str(PORT), "-w", "2", "--log", directory / "master.log", source, prefix=head.prefix)
        eventually(lambda: serves(head), "the master does not serve")
        alone, _ = download(cluster, head, node, source, "alone", lambda: 0)
        hostile = Hostile(head.address)
        stack.callback(hostile.end)
        getattr(hostile, kind)()
        if kind == "reads":
            eventually(lambda: hostile.got > SIZE // 4, "nothing is sent")
        together, share = download(cluster, head, node, source, "together", lambda: hostile.got)
        return Measured(alone, together, share)


if __name__ == "__main__":
    print(json.dumps(asdict(main(sys.argv[1], Path(sys.argv[2])))))
