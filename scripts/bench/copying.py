"""Copies a tree into an empty directory over loopback: with xget, rsync from its daemon, and tar through a socket.

Each function copies a tree once and returns how many seconds that took, from the start of what receives until it has
ended. Each is told what an administrator who knows it would tell it. All that was started has ended when they return.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .loopback import HOST, PATIENCE, children, client, finished, free_port, running
from .processes import peak_memory

_LOOK_EVERY = 0.05


@dataclass(frozen=True, slots=True)
class Fetched:
    """A first download by xget: seconds, and the largest resident sets of client and node, in bytes."""

    seconds: float
    client: int
    node: int


def by_xget(port: int, dest: Path) -> Fetched:
    """From a master. Its files are on disk then, which those of the other two are not."""
    largest_client = largest_node = 0
    begun = time.monotonic()
    with running(client(port, dest, "-q")) as process:
        while process.poll() is None:
            with suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
                largest_client = max(largest_client, peak_memory(process.pid))
                largest_node = max([largest_node, *map(peak_memory, children(process.pid))])
            if time.monotonic() > begun + PATIENCE:
                raise SystemExit(f"the client has not ended in {PATIENCE:g} s")
            time.sleep(_LOOK_EVERY)
        if process.returncode:
            raise SystemExit(f"the client ended with status {process.returncode}")
    return Fetched(time.monotonic() - begun, largest_client, largest_node)


def by_rsync(tree: Path, dest: Path, work: Path) -> float:
    dest.mkdir()
    with _rsync_daemon(tree, work) as port:
        begun = time.monotonic()
        finished(["rsync", "--archive", f"rsync://{HOST}:{port}/tree/", f"{dest}/"], PATIENCE)
        return time.monotonic() - begun


@contextmanager
def _rsync_daemon(tree: Path, work: Path) -> Iterator[int]:
    """An rsync daemon for the tree, without ssh, which would cost processor time."""
    port = free_port()
    settings = work / "rsyncd.conf"
    identity = "uid = root\ngid = root\n" if os.geteuid() == 0 else ""
    settings.write_text(
        f"{identity}use chroot = no\nreverse lookup = no\npid file = {work}/rsyncd-{port}.pid\n"
        f"log file = {work}/rsyncd.log\n[tree]\npath = {tree}\n"
    )
    command = ["rsync", "--daemon", "--no-detach", "--config", str(settings), "--address", HOST, "--port", str(port)]
    with running(command) as daemon:
        deadline = time.monotonic() + PATIENCE
        while not _listens(port):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the rsync daemon is not ready: {shown(work / 'rsyncd.log')}")
            time.sleep(_LOOK_EVERY)
        yield port


def shown(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else "it says nothing"


def _listens(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection((HOST, port)):
        return True
    return False


def by_tar(tree: Path, dest: Path) -> float:
    """One tar writes to a socket, another reads from it."""
    dest.mkdir()
    with socket.create_server((HOST, 0)) as listening:
        outgoing = socket.create_connection(listening.getsockname())
        incoming, _ = listening.accept()
    begun = time.monotonic()
    with (
        running(["tar", "-C", str(tree), "-cf", "-", "."], stdout=outgoing) as sender,
        running(["tar", "-C", str(dest), "-xf", "-"], stdin=incoming) as receiver,
    ):
        outgoing.close()  # so that the sender's end is the end
        incoming.close()
        for process in (receiver, sender):
            try:
                status = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise SystemExit(f"tar has not ended in {PATIENCE:g} s") from None
            if status:
                raise SystemExit(f"tar ended with status {status}")
        return time.monotonic() - begun
