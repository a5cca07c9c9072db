"""The namespace `swarm`, whose files are the interface: what a master does can be seen with cat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from test.kernel.check import Mounted, check, content
from test.kernel.mounts import SWARM

_SOON = 10.0  # seconds


@check(tree=SWARM)
def status_and_manifest(mounted: Mounted) -> None:
    status = json.loads(content(mounted.path("status")))
    assert status["files"] == mounted.facts["files"]
    size = os.stat(mounted.path("manifest")).st_size
    assert len(Path(mounted.path("manifest")).read_bytes()) == size > 1000
    assert content(mounted.path("log")) == "0\n"


@check(tree=SWARM)
def a_line_for_the_log(mounted: Mounted) -> None:
    """The test outside looks whether it has arrived."""
    subprocess.run(f"echo {mounted.facts['remark']} >>{mounted.path('log')}", shell=True, check=True)


@check(tree=SWARM)
def waiting_reads_end_when_they_are_killed(mounted: Mounted) -> None:
    """`have` answers at once the first time; then it waits for news, and Linux flushes what a killed process waits for.

    A read that must not wait (O_NONBLOCK) is one message; any other is as many as fill its buffer.
    """
    for _ in range(5):
        with _reader(mounted.path("have")) as pid:
            deadline = time.monotonic() + _SOON
            while "p9" not in content(f"/proc/{pid}/wchan"):
                assert time.monotonic() < deadline, "it does not wait for the server"
            os.kill(pid, signal.SIGKILL)
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                assert time.monotonic() < deadline, "it does not end"
    assert "status" in os.listdir(mounted.at)


@contextmanager
def _reader(path: str) -> Iterator[int]:
    """A process that has read the first answer, and waits for the second or is about to.

    The first is waited for here: Linux forgets a SIGKILL that comes between two messages of one process, until the
    second is answered. What goes wrong within may leave the process, which ends with the machine.
    """
    with ExitStack() as stack:
        read, write = os.pipe()
        stack.callback(os.close, read)
        pid = os.fork()
        if not pid:
            try:
                file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                os.write(write, b"%d" % (len(os.read(file, 1 << 16)) > 32))
                os.read(file, 1 << 16)
            finally:
                os._exit(1)
        os.close(write)
        assert os.read(read, 1) == b"1"
        yield pid
