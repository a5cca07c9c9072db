"""Measures how many small reads per second one worker answers: `python -m scripts.bench.small_reads`.

A master with one worker serves one file over loopback. One connection reads it from beginning to end, repeatedly. To
save processor time, the client is not a full 9P client: it sends prepared frames, keeps a fixed number of them in
flight, and counts the bytes of the replies; the column `of client` shows its share. Compare the processor time of the
worker per read: it does not depend on other load of the machine. Every hundredth reply is compared with the file.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from struct import pack

from xget_lib.ninep.dialect import encode
from xget_lib.ninep.messages import Tattach, TMessage, Topen, Tread, Tversion, Twalk
from xget_lib.ninep.wire import NOFID, NOTAG

from .loopback import HOST, serving, unwind_on_signals

_TICKS = os.sysconf("SC_CLK_TCK")
_SIZE = 64 << 20
_MSIZE = 65536
_RREAD = 117
_RREAD_HEADER = 11
_FID = 1
_PATIENCE = 30.0
_WAYS = {"classic": ("", ("image", "data")), "files": ("files", ("image",)), "swarm": ("swarm", ("data",))}
"""By namespace: its aname, and how to walk to the file."""


@dataclass(frozen=True, slots=True)
class Result:
    """One run."""

    reads: int
    seconds: float
    worker: float
    """Processor seconds that the worker took."""
    client: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.small_reads", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="4096,32768", metavar="BYTES,...", help="sizes of one read (4096,32768)")
    parser.add_argument("--flights", default="1,3,32", metavar="N,...", help="numbers of reads in flight (1,3,32)")
    parser.add_argument(
        "--trees", default=",".join(_WAYS), metavar="NAME,...", help=f"trees to read: {', '.join(_WAYS)} (all)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of one run in seconds (3)")
    arguments = parser.parse_args()
    unwind_on_signals()
    with tempfile.TemporaryDirectory(prefix="xget-small-reads-") as directory:
        content = random.Random(20004).randbytes(_SIZE)
        served = Path(directory) / "served"
        served.mkdir()
        (served / "image").write_bytes(content)
        with serving(served, Path(directory), "-w", 1) as master:
            (worker,) = master.workers()
            print(
                f"{'tree':8} {'bytes':>6} {'in flight':>9} {'reads/s':>8} {'MB/s':>6}"
                f" {'us of worker':>12} {'of client':>9}",
            )
            for tree in arguments.trees.split(","):
                for size in map(int, arguments.sizes.split(",")):
                    for flight in map(int, arguments.flights.split(",")):
                        result = _run(master.port, worker, tree, size, flight, content, arguments.seconds)
                        rate = result.reads / result.seconds
                        print(
                            f"{tree:8} {size:6} {flight:9} {rate:8.0f} {rate * size / 1e6:6.0f}"
                            f" {result.worker / result.reads * 1e6:12.1f} {result.client / result.reads * 1e6:9.1f}",
                            flush=True,
                        )
    return 0


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _attached(port: int, tree: str) -> socket.socket:
    """A connection on which fid 1 is the file, opened."""
    aname, names = _WAYS[tree]
    sock = socket.create_connection((HOST, port), timeout=_PATIENCE)
    try:
        _call(sock, Tversion(_MSIZE, "9P2000"), NOTAG)
        _call(sock, Tattach(0, NOFID, "bench", aname))
        _call(sock, Twalk(0, _FID, names))
        _call(sock, Topen(_FID, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _call(sock: socket.socket, request: TMessage, tag: int = 0) -> None:
    sock.sendall(encode(tag, request, "9P2000"))
    reply = _take(sock, int.from_bytes(_take(sock, 4), "little") - 4)
    assert reply[0] % 2 == 1 and reply[0] != 107, f"{request}: {reply!r}"


def _take(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = sock.recv(length - len(data))
        assert part, "the server closed the connection"
        data += part
    return data


def _run(port: int, worker: int, tree: str, size: int, flight: int, content: bytes, seconds: float) -> Result:
    """Reads of `size` bytes, from one offset after the other, `flight` of them on their way at any time."""
    offsets = range(0, len(content) // size * size, size)
    frames = [encode(number, Tread(_FID, offset, size), "9P2000") for number, offset in enumerate(offsets)]
    with contextlib.closing(_attached(port, tree)) as sock:
        begun, used, own = time.monotonic(), _processor(worker), time.process_time()
        reads = _read(sock, frames, size, flight, content, begun + seconds)
        return Result(reads, time.monotonic() - begun, _processor(worker) - used, time.process_time() - own)


def _read(sock: socket.socket, frames: list[bytes], size: int, flight: int, content: bytes, deadline: float) -> int:
    """Ask until the deadline, and take all that was asked for. How many reads that was."""
    whole = _RREAD_HEADER + size
    buffer = bytearray(max(1 << 20, flight * whole))
    view = memoryview(buffer)
    asked = answered = received = 0
    kept = 0  # bytes at the begin of the buffer that belong to a reply which is not whole
    sock.sendall(b"".join(frames[:flight]))
    asked = flight
    while answered < asked:
        count = sock.recv_into(view[kept:])
        assert count, "the server closed the connection"
        received += count
        whole_ones = received // whole - answered
        if not whole_ones:
            kept += count
            continue
        _check(buffer, answered, whole, content)
        answered += whole_ones
        kept = received % whole
        end = whole_ones * whole
        buffer[:kept] = buffer[end : end + kept]
        if time.monotonic() < deadline:
            sock.sendall(b"".join(frames[number % len(frames)] for number in range(asked, asked + whole_ones)))
            asked += whole_ones
    return answered


def _check(buffer: bytearray, number: int, whole: int, content: bytes) -> None:
    """The reply at the begin of the buffer is what it should be; all of it for every hundredth."""
    frames = len(content) // (whole - _RREAD_HEADER)
    header = pack("<IBHI", whole, _RREAD, number % frames, whole - _RREAD_HEADER)
    assert buffer[:_RREAD_HEADER] == header, f"{buffer[:_RREAD_HEADER].hex()} instead of {header.hex()}"
    if number % 100 == 0:
        at = number % frames * (whole - _RREAD_HEADER)
        assert buffer[_RREAD_HEADER:whole] == content[at : at + whole - _RREAD_HEADER], f"wrong bytes in read {number}"


if __name__ == "__main__":
    sys.exit(main())
