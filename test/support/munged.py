"""A daemon of MUNGE with a key and a socket of its own, below a directory of the test. Several are as many sites."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from test.support.cluster import eventually
from test.support.installed import lacking

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Munged:
    """A daemon at work."""

    def __init__(self, process: subprocess.Popen[bytes], socket: Path) -> None:
        self.process = process
        self.socket = str(socket)

    def signal(self, number: signal.Signals) -> None:
        """It counts when this returns: a daemon that is stopped answers nobody."""
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            state = Path(f"/proc/{self.process.pid}/stat")
            eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "munged is stopped")


@contextmanager
def munged(base: Path, key: bytes = bytes(range(256))) -> Iterator[Munged]:
    """A daemon whose files are in a new directory, which every user can reach."""
    program = shutil.which("munged", path=_PATH)
    if program is None:
        lacking("munged is not installed (apt-get install munge libmunge2)")
    base.mkdir()
    base.chmod(0o755)
    file = base / "key"
    file.touch(0o600)
    file.write_bytes(key)
    path = base / "socket"
    files = [f"--socket={path}", f"--key-file={file}"]
    files += [f"--{name}-file={base / name}" for name in ("pid", "seed")]
    command = [program, "--foreground", "--force", *files]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
    try:
        eventually(lambda: _listens(path), "munged listens")
        yield Munged(process, path)
    finally:
        process.kill()
        process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0
