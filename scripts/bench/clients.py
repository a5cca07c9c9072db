"""How fast `files` is read by other people's clients, and by ours, on loopback: one connection, reads of 1 MiB.

    .venv/bin/python -m scripts.bench.clients [--size MIB] [--repeat K]        in an environment of the tests

All read the same file of the same master, which has one worker, in turns; the best of K is shown. What differs is what
they do with a message: ours receives it into a buffer, diodcat (C, 9P2000.L) asks for one after the other and writes
each to /dev/null, python-9p has it go through several hands, which is most of its time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gevent.event import Event

from xget_lib.net.link import Link
from xget_lib.ninep.messages import Message, Tread
from xget_lib.ninep.requests import ReadInto

from .loopback import HOST, serving, unwind_on_signals

_READ = 1024 * 1024 - 24
"""Bytes of data in a message of 1 MiB: what all clients ask for."""
_PATIENCE = 60.0
_NAME = "content"
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


def ours(port: int, size: int, depth: int) -> None:
    """Reads the file with `depth` requests on their way, each into a buffer of its own."""
    link = Link.connect(HOST, port, "files", _PATIENCE)
    fid = link.open(_NAME, _PATIENCE).fid
    offsets = iter(range(0, size, _READ))
    done = Event()
    read = 0

    def ask(buffer: memoryview) -> None:
        offset = next(offsets, None)
        if offset is not None:
            link.start(Tread(fid, offset, _READ), lambda answer: took(buffer, answer), buffer)

    def took(buffer: memoryview, answer: Message | Exception) -> None:
        nonlocal read
        assert isinstance(answer, ReadInto), answer
        read += answer.count
        if read == size:
            done.set()
        ask(buffer)

    for _ in range(depth):
        ask(memoryview(bytearray(_READ)))
    done.wait()
    link.close()


def python_9p(port: int, size: int, depth: int) -> None:
    """Reads it with `depth` threads on one connection."""
    from py9p import Client

    with Client.connect_tcp(HOST, port, timeout=_PATIENCE, msize=1 << 20) as client:
        client.negotiate()
        client.attach(0, aname="files")
        client.walk(0, 1, _NAME)
        client.open(1)
        with ThreadPoolExecutor(depth) as readers:
            counts = readers.map(lambda offset: len(client.read(1, _READ, offset)), range(0, size, _READ))
            assert sum(counts) == size


def diodcat(port: int, size: int, depth: int) -> None:
    command = ["diodcat", "-s", f"{HOST}:{port}", "-a", "files", "-m", str(1 << 20), _NAME]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "PATH": _PATH})


CLIENTS: dict[str, tuple[Callable[[int, int, int], None], tuple[int, ...]]] = {
    "ours": (ours, (1, 4)),
    "diodcat": (diodcat, (1,)),
    "python-9p": (python_9p, (1, 4)),
}
"""Each with the numbers of requests that it can have on their way."""


def measure(port: int, size: int, repeat: int) -> dict[tuple[str, int], float]:
    """MiB/s by client and requests on their way, the best of `repeat`."""
    runs = [(name, depth) for name, (_, depths) in CLIENTS.items() for depth in depths]
    if not shutil.which("diodcat", path=_PATH):
        print("diodcat is omitted: not installed (apt-get install diod)", file=sys.stderr)
        runs.remove(("diodcat", 1))
    best = dict.fromkeys(runs, 0.0)
    for _, (name, depth) in itertools.product(range(repeat), runs):
        begun = time.monotonic()
        CLIENTS[name][0](port, size, depth)
        best[name, depth] = max(best[name, depth], size / 2**20 / (time.monotonic() - begun))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measures the throughput of `files` with different 9P clients, in MiB/s."
    )
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="size of the file (1024)")
    parser.add_argument("--repeat", type=int, default=3, metavar="K", help="measure K times and print the best (3)")
    given = parser.parse_args()
    unwind_on_signals()
    with tempfile.TemporaryDirectory(prefix="xget-clients-") as directory:
        served = Path(directory) / "served"
        served.mkdir()
        with open(served / _NAME, "wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(given.size):
                file.write(block)
        with serving(served, Path(directory), "-w", 1) as master:
            best = measure(master.port, given.size << 20, given.repeat)
    print("client     reads at once   MiB/s  of ours")
    for (name, depth), rate in best.items():
        print(f"{name:10} {depth:13} {rate:7.0f} {rate / best['ours', depth]:8.2f}")


if __name__ == "__main__":
    main()
