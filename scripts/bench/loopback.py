"""Measuring on one machine, over loopback: a master of this checkout, and commands that all end.

    unwind_on_signals()
    with serving(directory, work) as master:                              it has its snapshot when the block begins
        finished(client(master.port, dest), 600)                      a command from begin to end

What is started here has ended when its block has, with all that it started itself: also when the block is left by an
exception, such as that of a signal.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from .tools import CHECKOUT

HOST = "127.0.0.1"
PATIENCE = 600.0
"""Seconds after which what should have ended, or should serve, has failed. Never waited for when all is well."""
_TO_END = 60.0
_LOOK_EVERY = 0.01
_SNAPSHOT = re.compile(r" INFO: generation [0-9a-f]+: .* (\d+) pieces hashed")


@dataclass(frozen=True, slots=True)
class Master:
    """One that serves."""

    pid: int
    port: int
    ready: float
    """Seconds from its start until its log named the generation."""
    hashed: int
    """How many pieces it had to hash for that."""

    @property
    def nursery(self) -> int:
        """The number of this process."""
        (nursery,) = children(self.pid)
        return nursery

    def workers(self) -> list[int]:
        """The numbers of these processes."""
        return children(self.nursery)


def xget(*words: object) -> list[str]:
    """The command of this checkout."""
    return [sys.executable, str(CHECKOUT / "xget.py"), *map(str, words)]


def client(port: int, dest: Path, *options: str) -> list[str]:
    """The command that downloads all of a master's into a directory, and leaves nobody behind."""
    return xget(*options, "-n", HOST, "-p", port, "--linger", 0, ".", dest)


@contextmanager
def serving(served: Path, work: Path, *options: object, limit: float = PATIENCE) -> Iterator[Master]:
    """A master with its log and its kept digests below `work`. Raises SystemExit where it is not ready in time."""
    port = free_port()
    log = work / f"master-{port}.log"
    words = ("--bind", HOST, "-p", port, "--cache", work / "cache", "--log", log, *options, served)
    begun = time.monotonic()
    with running(xget(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        said = ""
        while not (snapshot := _SNAPSHOT.search(said)):
            if process.poll() is not None or time.monotonic() > begun + limit:
                raise SystemExit(f"the master does not serve:\n{said}")
            time.sleep(_LOOK_EVERY)
            said = log.read_text(errors="replace") if log.exists() else ""
        yield Master(process.pid, port, time.monotonic() - begun, int(snapshot[1]))
        process.terminate()
        process.wait(_TO_END)


def finished(command: Sequence[str], limit: float, **options: Any) -> str:
    """A command from begin to end, and what it wrote to stdout, if `options`, those of Popen, say nothing else.

    Raises SystemExit where it fails, or has not ended in `limit` seconds.
    """
    with running(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}) as process:
        try:
            said, error = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"not ended in {limit:g} s: {shlex.join(command)}") from None
    if process.returncode:
        raise SystemExit(f"status {process.returncode}: {shlex.join(command)}\n{error or said or ''}")
    return said or ""


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, all of which is killed if it has not ended when the block has."""
    with subprocess.Popen(
        command, process_group=0, text=True, errors="replace", **{"stdin": subprocess.DEVNULL, **options}
    ) as process:
        try:
            yield process
        finally:
            if process.returncode is None:  # not waited for: nobody else can have its number
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that nobody uses, and most likely nobody will before we do."""
    with socket.create_server((HOST, 0)) as listening:
        return int(listening.getsockname()[1])


def children(pid: int) -> list[int]:
    """The processes that a process has started and that have not been waited for."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def unwind_on_signals() -> None:
    """From now on the first SIGINT, SIGTERM or SIGHUP raises SystemExit; those behind it do not disturb the end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def unwind(number: int, frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in numbers:
        signal.signal(number, unwind)
