"""The namespace `swarm`, whose files are the interface: what a master does can be seen with cat."""

from __future__ import annotations

import json
import os
import subprocess
import time
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
    file = os.open(mounted.path("have"), os.O_RDONLY | os.O_NONBLOCK)
    assert len(os.read(file, 1 << 16)) > 32
    os.close(file)
    for _ in range(5):
        with subprocess.Popen(["cat", mounted.path("have")], stdout=subprocess.DEVNULL) as waiting:
            deadline = time.monotonic() + _SOON
            while "p9" not in content(f"/proc/{waiting.pid}/wchan"):
                assert time.monotonic() < deadline, "it does not wait for the server"
            waiting.kill()
            waiting.wait(_SOON)
    assert "status" in os.listdir(mounted.at)
