"""Helps to measure over loopback on one machine: starts a master of this checkout, and runs commands.

    unwind_on_signals()
    with serving(directory, work) as master:                              the snapshot is complete when the block begins
        finished(client(master.port, dest), 600)                      runs a command to its end

Everything that a block starts has ended when the block ends, also after an exception or a signal.
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
"""Seconds after which a process that has not ended, or is not ready, counts as failed."""
_TO_END = 60.0
_LOOK_EVERY = 0.01
_SNAPSHOT = re.compile(r" INFO: generation [0-9a-f]+: .* (\d+) pieces hashed")


@dataclass(frozen=True, slots=True)
class Master:
    """A running master."""

    pid: int
    port: int
    ready: float
    """Seconds from its start until it logged its generation."""
    hashed: int
    """Number of pieces that it hashed."""

    @property
    def nursery(self) -> int:
        """Its process ID."""
        (nursery,) = children(self.pid)
        return nursery

    def workers(self) -> list[int]:
        """Their process IDs."""
        return children(self.nursery)


def xget(*words: object) -> list[str]:
    """The command of this checkout."""
    return [sys.executable, str(CHECKOUT / "xget.py"), *map(str, words)]


def client(port: int, dest: Path, *options: str) -> list[str]:
    """The command that downloads everything into a directory and leaves no child server."""
    return xget(*options, "-n", HOST, "-p", port, "--linger", 0, ".", dest)


@contextmanager
def serving(served: Path, work: Path, *options: object, limit: float = PATIENCE) -> Iterator[Master]:
    """A master with its log and digest cache below `work`. Raises SystemExit if it is not ready in time."""
    port = free_port()
    log = work / f"master-{port}.log"
    words = ("--bind", HOST, "-p", port, "--cache", work / "cache", "--log", log, *options, served)
    begun = time.monotonic()
    with running(xget(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        said = ""
        while not (snapshot := _SNAPSHOT.search(said)):
            if process.poll() is not None or time.monotonic() > begun + limit:
                raise SystemExit(f"the master is not ready:\n{said}")
            time.sleep(_LOOK_EVERY)
            said = log.read_text(errors="replace") if log.exists() else ""
        yield Master(process.pid, port, time.monotonic() - begun, int(snapshot[1]))
        process.terminate()
        process.wait(_TO_END)


def finished(command: Sequence[str], limit: float, **options: Any) -> str:
    """Run a command to its end; return its stdout. `options` are those of Popen.

    Raises SystemExit if it fails or has not ended after `limit` seconds.
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
    """A command in its own process group, which is killed at the end of the block."""
    with subprocess.Popen(
        command, process_group=0, text=True, errors="replace", **{"stdin": subprocess.DEVNULL, **options}
    ) as process:
        try:
            yield process
        finally:
            if process.returncode is None:  # not waited for: nobody else can have its number
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that is free now, and most likely still when it is used."""
    with socket.create_server((HOST, 0)) as listening:
        return int(listening.getsockname()[1])


def children(pid: int) -> list[int]:
    """The child processes of a process, zombies included."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def unwind_on_signals() -> None:
    """Let the first SIGINT, SIGTERM or SIGHUP raise SystemExit, and ignore later ones until the end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def unwind(number: int, frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in numbers:
        signal.signal(number, unwind)
