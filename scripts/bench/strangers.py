"""Measures what connections without a proof cost a master with a secret: `python -m scripts.bench.strangers`.

Ten thousand connections from several addresses of this machine are opened to a master, and say nothing, or begin to
prove something and stop, or send something else than 9P. Meanwhile a member connects, proves the secret and reads a
small file, again and again. Printed are how many connections are there in the end, the memory that the processes of the
master need for each of these, the processor time for each that came, the time of the member without and with them, and
the lines in the log. How many may be there depends on the limit of descriptors and the number of workers.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from xget_lib.ninep.auth import LINE_LIMIT
from xget_lib.ninep.dialect import NINEP2000, encode
from xget_lib.ninep.messages import Tauth, Tread, Tversion
from xget_lib.ninep.wire import NOTAG
from xget_lib.process import rlimit

from .loopback import HOST, Master, serving, unwind_on_signals
from .member import Member

_PATIENCE = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_FIRST = encode(NOTAG, Tversion(8192, NINEP2000), NINEP2000)
_SAID = {
    "silent": b"",
    "handshake": _FIRST + encode(1, Tauth(1, "", "swarm"), NINEP2000) + encode(2, Tread(1, 0, LINE_LIMIT), NINEP2000),
    "garbage": b"GET / HTTP/1.1\r\n\r\n",
}
"""By kind: what a stranger sends."""


@dataclass(frozen=True)
class Result:
    """Of one kind."""

    held: int
    """Connections that are there in the end."""
    memory: float
    """Bytes for each of these, in all processes of the master; if there is none, for each that came."""
    processor: float
    """Seconds for each connection."""
    member: float
    """Seconds of a member to connect, prove the secret, and read: the median while the strangers are there,"""
    slowest: float
    """and the longest."""
    usual: float
    """The median without strangers."""
    lines: int
    """In the log."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.strangers", description=__doc__.split("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000, metavar="N", help="connections (10000)")
    parser.add_argument("--addresses", type=int, default=4, metavar="N", help="addresses of the strangers (4)")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="worker processes of the master (8)")
    arguments = parser.parse_args()
    unwind_on_signals()
    rlimit.raise_limit(arguments.connections + 100)
    print("kind         held  bytes each  microseconds each  member ms (usually)  slowest ms  lines")
    for kind, said in _SAID.items():
        result = measure(said, arguments.connections, arguments.addresses, arguments.workers)
        print(
            f"{kind:10}  {result.held:5}  {result.memory:10.0f}  {1e6 * result.processor:17.0f}"
            f"  {1e3 * result.member:9.1f} ({1e3 * result.usual:.1f})"
            f"     {1e3 * result.slowest:10.1f}  {result.lines:5}",
            flush=True,
        )
    return 0


def measure(said: bytes, count: int, addresses: int, workers: int) -> Result:
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        served = work / "served"
        served.mkdir()
        (served / "file").write_bytes(b"x" * 1000)
        key = secrets.token_hex(32).encode()
        file = work / "secret"
        file.touch(0o600)
        file.write_bytes(key)
        master = stack.enter_context(serving(served, work, "-w", workers, "--secret", file))
        log = work / f"master-{master.port}.log"
        usual = [_visit(master.port, key) for _ in range(20)]
        lines = log.read_text().count("\n")
        before, used = _memory(master), _processor(master)
        strangers: list[socket.socket] = []
        delays: list[float] = []
        for number, sock in enumerate(_connections(master.port, count, addresses)):
            with suppress(OSError):  # a connection above a limit was ended
                sock.sendall(said)
            strangers.append(stack.enter_context(sock))
            if number % (count // 20 or 1) == 0:
                delays.append(_visit(master.port, key))
        delays += [_visit(master.port, key) for _ in range(5)]
        held = sum(map(_is_there, strangers))
        return Result(
            held,
            (_memory(master) - before) / (held or count),
            (_processor(master) - used) / count,
            statistics.median(delays),
            max(delays),
            statistics.median(usual),
            log.read_text().count("\n") - lines,
        )


def _connections(port: int, count: int, addresses: int) -> Iterator[socket.socket]:
    hosts = cycle(f"127.0.1.{number}" for number in range(1, addresses + 1))
    for _ in range(count):
        yield socket.create_connection((HOST, port), _PATIENCE, source_address=(next(hosts), 0))


def _is_there(sock: socket.socket) -> bool:
    sock.setblocking(False)
    with suppress(BlockingIOError):
        try:
            return bool(sock.recv(1 << 16)) and _is_there(sock)
        except ConnectionResetError:
            return False
    return True


def _visit(port: int, key: bytes) -> float:
    begun = time.monotonic()
    with Member(port, key) as member:
        member.read("log")
    return time.monotonic() - begun


def _processes(master: Master) -> list[int]:
    return [master.pid, *master.workers()]


def _memory(master: Master) -> int:
    """Bytes that the processes have for themselves."""
    pages = 0
    for pid in _processes(master):
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        pages += int(resident) - int(shared)
    return pages * os.sysconf("SC_PAGE_SIZE")


def _processor(master: Master) -> float:
    """Seconds that the processes have used."""
    ticks = 0
    for pid in _processes(master):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


if __name__ == "__main__":
    raise SystemExit(main())
