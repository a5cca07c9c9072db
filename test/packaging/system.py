"""A Debian system with its own network, processes and files, in namespaces: what happens in it leaves nothing outside.

Its network is only a loopback interface, unless it gets one that others are part of. It either has no process but those
that a test starts, as in a container that is being built, or it is booted by systemd, in systemd-nspawn. What it writes
is in memory, above a root directory that stays as it is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from test.support.cluster import eventually
from test.support.processes import line_from

_PATIENCE = 180.0  # seconds, for what is done in it
LINE_WITHIN = 120.0  # seconds, in which a program in there says something
_HIERARCHIES = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")

_MOUNTED = """\
set -e
mount -t tmpfs none "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" none "$2/root"
"""
_ENTERED = f"""\
{_MOUNTED}
mkdir -p "$2/root/mnt"
mount -t proc none "$2/root/proc"
mount --rbind /dev "$2/root/dev"
mount -t tmpfs none "$2/root/run"
mount --bind "$3" "$2/root/mnt"
ip link set lo up
echo ready
exec chroot "$2/root" sleep infinity
"""
_BOOTED = f"""\
{_MOUNTED}
root="$2/root" shared=$3 network=$4 keep=$5
shift 5
for cgroup; do echo $$ >"$cgroup/cgroup.procs"; done
mkdir -p /run/systemd
mount -t tmpfs none /run/systemd # its own notes would stay behind
echo ready
exec systemd-nspawn --quiet --directory "$root" --boot --register=no $network --machine=xget-test \
    --bind="$shared:/mnt" --console=pipe $keep
"""


class System:
    """`shared` is a directory of this machine that is /mnt in there. `root` is its root directory, for `run_beside`."""

    def __init__(self, root: Path, place: Path, boot: bool, network: int | None = None) -> None:
        """`network` is a process whose network namespace it gets, instead of one of its own."""
        self.shared = place / "shared"
        work = place / "work"
        self.root = work / "root"
        for directory in (self.shared, work):
            directory.mkdir(parents=True)
        self._cgroups = _make_cgroups() if boot else []
        command = [] if network is None else ["nsenter", f"--net=/proc/{network}/ns/net", "--"]
        command += ["unshare", "--mount", "--propagation=private"]
        command += [] if boot else ["--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        command += [] if boot or network is not None else ["--net"]
        private = "--private-network" if network is None else "--network-namespace-path=/proc/self/ns/net"
        # Without systemd outside there is nobody who would make a cgroup for it.
        keep = "" if os.path.isdir("/run/systemd/system") else "--keep-unit"
        arguments = [str(root), str(work), str(self.shared)]
        arguments += [private, keep, *map(str, self._cgroups)] if boot else []
        command += ["sh", "-c", _BOOTED if boot else _ENTERED, "sh", *arguments]
        self.console = place / "console"
        with open(self.console, "wb") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=console,
            )
        assert self._process.stdout
        assert line_from(self._process.stdout.fileno(), _PATIENCE) == "ready", self.console.read_text()
        first = eventually(self._find_first, "the first process of the system", _PATIENCE)
        assert first
        self.first = first
        if boot:
            self._wait_for_systemd()

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts a program in there."""
        return self._start(*self._entered("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"), *command)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a program in there to its end. It fails the test if it fails, unless `check` is False."""
        return _finished(self.start(*command), check)

    def run_beside(self, *command: str) -> str:
        """Runs a program of this machine that must not fail, which sees the system in `root`."""
        return _finished(self._start(*self._entered("--mount", "--pid"), *command), True).stdout

    def _entered(self, *namespaces: str) -> list[str]:
        return ["nsenter", f"--target={self.first}", *namespaces, "--"]

    def _start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )

    def shell(self, script: str) -> str:
        """Runs a script in there that must not fail. Returns what it prints."""
        return self.run("sh", "-euc", script).stdout

    def limit_network(self, rate: str) -> None:
        """Makes the loopback interface as slow as this, such as 8mbit."""
        self.run("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", rate, "burst", "128k", "latency", "400ms")

    def free_network(self) -> None:
        self.run("tc", "qdisc", "del", "dev", "lo", "root")

    def close(self) -> None:
        """Ends all processes in there."""
        with suppress(ProcessLookupError):
            os.kill(self.first, signal.SIGKILL)  # and with the first process of their namespace all others
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        for cgroup in self._cgroups:
            eventually(partial(_removed, cgroup), f"{cgroup} can be removed")

    def _find_first(self) -> int | None:
        """The process that is number 1 in there, by its number out here."""
        pending = [self._process.pid]
        while pending:
            pid = pending.pop()
            with suppress(OSError, StopIteration):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(numbers) > len(_own_numbers()) and numbers[-1] == "1" and _has_started(pid):
                    return pid
                pending += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return None

    def _wait_for_systemd(self) -> None:
        def state() -> str:
            return self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()

        eventually(lambda: state() in ("running", "degraded"), "systemd has booted", _PATIENCE)


def _finished(process: subprocess.Popen[str], check: bool) -> subprocess.CompletedProcess[str]:
    try:
        output, _ = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert not check or process.returncode == 0, f"{process.args!r}: status {process.returncode}\n{output}"
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def _own_numbers() -> list[str]:
    status = Path("/proc/self/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]


def _has_started(pid: int) -> bool:
    """Whether it is the program that stays, and not what prepares for it."""
    return Path(f"/proc/{pid}/comm").read_text().strip() in ("sleep", "systemd")


def _make_cgroups() -> list[Path]:
    """A cgroup of its own for the system, with one name in all hierarchies that systemd uses."""
    name = f"xget-test-{os.getpid()}-{time.monotonic_ns()}"
    made = []
    for hierarchy in map(Path, _HIERARCHIES):
        if (hierarchy / "cgroup.procs").exists():
            cgroup = hierarchy / name
            cgroup.mkdir()
            made.append(cgroup)
    return made


def _removed(cgroup: Path) -> bool:
    """Whether a cgroup with all below it is gone; that needs all of its processes to have ended."""
    try:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(directory)
    except OSError:
        return False
    return True
