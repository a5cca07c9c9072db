"""Measures how exact the limits of bytes per second are: `python -m scripts.bench.rates`.

For each rate, a master with four workers sends to clients that also give to each other (`--rate-up` of the master, with
one busy client and with four), and one client receives (`--rate`). What the master has sent, and what the client has
fetched, is read twice, some seconds apart, while the transfer goes on. Printed is the rate between, and how far it is
from the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from test.support.plain_client import PlainClient

from .loopback import Master, serving, unwind_on_signals, xget

_BEGUN = 1.0
"""Seconds of the limit that must have passed before the first look: buffers are full then."""
_LOOK_EVERY = 0.01


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.rates", description=__doc__.split("\n")[0])
    parser.add_argument("--rates", nargs="+", type=float, default=[1, 10, 100], metavar="MIB", help="MiB/s (1 10 100)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="between the two looks (10)")
    arguments = parser.parse_args()
    unwind_on_signals()
    print("limit            MiB/s   measured   off by")
    for mib in arguments.rates:
        rate = int(mib * 2**20)
        for name, measured in (
            ("up, 1 client", sent(rate, arguments.seconds, 1)),
            ("up, 4 clients", sent(rate, arguments.seconds, 4)),
            ("received", received(rate, arguments.seconds)),
        ):
            off = 100 * (measured / rate - 1)
            print(f"{name:14} {mib:7g} {measured / 2**20:10.2f}  {off:+6.1f} %", flush=True)
    return 0


def sent(rate: int, seconds: float, clients: int) -> float:
    """Bytes per second that a master with `--rate-up` sends. Each client wants another file, so that peers cannot give
    what the master would."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        size = int(rate * (seconds + 3 * _BEGUN) / clients)
        master = stack.enter_context(serving(files(work, clients, size), work, "-w", 4, "--rate-up", rate))
        for number in range(clients):
            running(stack, master, work, number, [])
        return between(lambda: _of_master(master), rate, seconds)


def received(rate: int, seconds: float) -> float:
    """Bytes per second that a client with `--rate` fetches."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        master = stack.enter_context(serving(files(work, 1, int(rate * (seconds + 3 * _BEGUN))), work, "-w", 4))
        running(stack, master, work, 0, ["--rate", str(rate)])
        return between(lambda: _of_master(master), rate, seconds)


def files(work: Path, count: int, size: int) -> Path:
    served = work / "served"
    served.mkdir()
    block = os.urandom(1 << 20)
    for number in range(count):
        with open(served / f"file{number}", "wb") as file:
            for part in range(0, size, len(block)):
                file.write(
                    number.to_bytes(4, "big") + part.to_bytes(8, "big") + block[12 : min(len(block), size - part)]
                )
    return served


def running(stack: ExitStack, master: Master, work: Path, number: int, options: Sequence[str]) -> None:
    """A client, until the end of the block."""
    words = [
        "-n",
        "127.0.0.1",
        "-p",
        master.port,
        "-q",
        "--linger",
        0,
        *options,
        f"file{number}",
        work / f"dest{number}",
    ]
    client = subprocess.Popen(xget(*words))
    stack.callback(client.wait)
    stack.callback(client.terminate)


def between(count: Callable[[], int], rate: int, seconds: float) -> float:
    """The rate at which a count grows, from when it has begun on."""
    while (first := count()) < rate * _BEGUN:
        time.sleep(_LOOK_EVERY)
    begun = time.monotonic()
    time.sleep(seconds)
    last = count()
    return (last - first) / (time.monotonic() - begun)


def _of_master(master: Master) -> int:
    with PlainClient(master.port, "swarm") as client:
        status = json.loads(client.read_all("status"))
    return int(status["sent"])


if __name__ == "__main__":
    raise SystemExit(main())
