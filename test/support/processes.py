"""Watching processes that are not our children, without ever mistaking a reused number for them."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

PATIENCE = 20.0  # seconds after which a test that waits has failed; never waited for when all is well


class Watched:
    """A process, by pidfd: taken while it is known to live, it means that process for ever."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def ends(self, seconds: float = PATIENCE) -> bool:
        """Whether it ends within so many seconds."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def lives(self) -> bool:
        return not self.ends(0)

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._fd, number)

    def dispose(self) -> None:
        """Kills it if it is still there."""
        if self.lives():
            self.signal(signal.SIGKILL)
        os.close(self._fd)


def stop_this_process(seconds: float) -> None:
    """Send SIGSTOP to this process. Another one sends SIGCONT after so many seconds."""
    pid = os.getpid()
    waker = os.posix_spawn(
        "/bin/sh", ["sh", "-c", f"kill -STOP {pid}; sleep {seconds}; kill -CONT {pid}"], dict(os.environ)
    )
    os.waitpid(waker, 0)


def line_from(fd: int, seconds: float = PATIENCE) -> str:
    """The next line from a descriptor, without its end; fails when none comes. Empty at the end of the file."""
    line = b""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poller.poll(seconds * 1000):
            raise AssertionError(f"nothing but {line!r} within {seconds} s")
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return line.decode().rstrip("\n")


def open_files(pid: int) -> dict[int, str]:
    """What a process has open. It may be at work and close something meanwhile."""
    directory = f"/proc/{pid}/fd"
    files = {}
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):
            files[int(name)] = os.readlink(f"{directory}/{name}")
    return files
