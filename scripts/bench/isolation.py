"""New namespaces for one measurement. The kernel removes them afterwards, with everything in them.

`measure` runs as process 1 of process, network and mount namespaces of its own. When process 1 ends, the kernel kills
all other processes in there, daemons with sessions of their own too; and with the last of them go the network, the
files (on a tmpfs), and the names. So nothing has to be cleaned up, and nothing can be forgotten: not when this program
is interrupted, not when it is killed (setpriv's --pdeathsig, unshare's --kill-child), not when a measurement hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

from .cases import Case, Result, failed
from .tools import CHECKOUT

_AROUND = 180.0
"""Seconds for everything but the measured part: building the network, making and checking small files."""
_PROGRAMS = {"ip": "iproute2", "tc": "iproute2", **dict.fromkeys(("unshare", "nsenter", "setpriv"), "util-linux")}
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
"""After `su`, PATH does not contain these directories."""
_ISOLATED = (
    *("setpriv", "--pdeathsig", "KILL", "--"),  # when this program dies
    *("unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
)


def obstacle() -> str:
    """Why this machine cannot run the benchmark, and what to do about it; empty if it can."""
    if sys.platform != "linux":
        return "Linux is required (network namespaces)"
    if os.geteuid() != 0:
        return "root is required, to create network namespaces and shape their links (sudo scripts/bench/run ...)"
    missing = sorted({package for program, package in _PROGRAMS.items() if not shutil.which(program, path=_PATH)})
    if missing:
        return f"packages are missing (apt-get install {' '.join(missing)})"
    attempt = subprocess.run(
        [*_ISOLATED, "sh", "-c", "ip link add probe type veth && tc qdisc add dev probe root handle 1: htb"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    if attempt.returncode:
        said = attempt.stdout.strip().splitlines() or ["no message"]
        return f"cannot create namespaces with shaped links: {said[-1]}"
    return ""


def measure(case: Case) -> Result:
    """Measure one case in new namespaces. Takes little longer than the limit of the case. A failure of the tool is a
    result, not an exception."""
    command = [*_ISOLATED, sys.executable, "-m", "scripts.bench.measure", json.dumps(asdict(case))]
    limit = (2 if case.changed else 1) * (case.limit + case.head_limit) + _AROUND + case.files * case.nodes / 500
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PATH": _PATH}
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return failed(case, f"the measurement itself did not end in {limit:.0f} s")
    finally:
        # SIGKILL: unshare ignores other signals while it waits for its child, and its end kills everything.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
    lines = said.strip().splitlines()
    if process.returncode or not lines:
        return failed(case, lines[-1] if lines else f"the measurement ended with status {process.returncode}")
    return Result.decode(json.loads(lines[-1]))
