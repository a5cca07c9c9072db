"""Destinations that are full, read-only or gone, and limits of the client's process."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from test.faults.fault import Excuse, Fault, Strike

if TYPE_CHECKING:
    from test.faults.run import Run


def _from_the_start(run: Run, strike: Strike) -> bool:
    """What `needs` prepares is the whole fault."""
    return True


def _read_only(run: Run, strike: Strike) -> bool:
    """Refused while a file is open for writing, so it is tried again."""
    node = run.node(strike.target)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not node.ended and not run.over.is_set():
        command = ["mount", "-o", "remount,ro", str(node.dest)]
        if subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0:
            return True
        time.sleep(0.01)
    return False


def _remove(run: Run, strike: Strike) -> bool:
    node = run.node(strike.target)
    there = node.dest.is_dir()
    shutil.rmtree(node.dest, ignore_errors=True)
    return there


def _rename(run: Run, strike: Strike) -> bool:
    node = run.node(strike.target)
    there = node.dest.is_dir()
    if there:
        node.dest.rename(node.dest.with_name(f"{node.dest.name}-renamed"))
    return there


_FULL = Excuse(frozenset((6,)), "No space left|disk full|free space|needs|Disk quota|inodes")
_READ_ONLY = Excuse(frozenset((6,)), "Read-only|Device or resource busy")
_GONE = Excuse(frozenset((6,)), "No such file|removed|renamed|gone|not a directory|Stale|another directory|File exists")
_DESCRIPTORS = Excuse(frozenset((1, 3, 6)), "open files|descriptor|LimitNOFILE|ulimit")
_PROCESSES = Excuse(frozenset((1, 3, 6)), "temporarily unavailable|process|thread")


def _prepared(does: str, needs: str, excuse: Excuse) -> Fault:
    """A limit that is there when the client starts."""
    return Fault(does, _from_the_start, "client", needs=needs, from_start=True, excuse=excuse)


FAULTS = {
    "full disk": _prepared("the destination is too small", "small disk", _FULL),
    "no inodes": _prepared("the destination takes only some files", "few inodes", _FULL),
    "read-only": Fault("it becomes read-only", _read_only, "client", needs="own disk", excuse=_READ_ONLY),
    "remove destination": Fault("rm -r", _remove, "client", excuse=_GONE, spoils_dest=True),
    "rename destination": Fault("mv", _rename, "client", excuse=_GONE, spoils_dest=True),
    "few descriptors": _prepared("RLIMIT_NOFILE 32", "few descriptors", _DESCRIPTORS),
    "few processes": _prepared("RLIMIT_NPROC 3, as a user who is not root", "few processes", _PROCESSES),
}
