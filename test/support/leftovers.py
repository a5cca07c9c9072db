"""Finding every process that a test started, whatever became of it since, and ending it.

A child server has left its session, its terminal and its parent, and so has a daemon. What no process of ours leaves
behind is the environment that it was started with: `MARK` in it names the test.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from test.support.processes import PATIENCE, Watched
from xget_lib.process import runtime_directory

MARK = "XGET_TEST_OF"


def marked(value: str) -> list[int]:
    """The numbers of all processes that live and whose mark begins with `value`. Zombies have no environment."""
    needle = f"\0{MARK}={value}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            # It may end while we look, and those of other users are none of ours.
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as environ:
                if needle in b"\0" + environ.read():
                    found.append(int(name))
    return found


def end_all(value: str) -> list[int]:
    """Kills what is marked so, until nothing is left. Returns what had to be killed."""
    killed = []
    deadline = time.monotonic() + PATIENCE
    while pids := marked(value):
        assert time.monotonic() < deadline, f"cannot be killed: {pids}"
        for pid in pids:
            with suppress(ProcessLookupError):
                watched = Watched(pid)
                if pid in marked(value):  # not another one that got the number before the pidfd was open
                    watched.signal(signal.SIGKILL)
                    watched.ends()
                    killed.append(pid)
                watched.dispose()
    return killed


def remove_sockets() -> None:
    """Removes what servers that were killed have left in the directories for sockets, and these where nothing is left.

    Servers of others live on.
    """
    for directory in runtime_directory._own_directories():
        with suppress(OSError):
            runtime_directory._remove_unused(directory)
            os.rmdir(directory)
