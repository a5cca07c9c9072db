"""Root directories of small Debian systems, made by debootstrap once and then cached.

    python3 -m test.packaging.roots            makes that of the tests, as root, so that they find it
    python3 -m test.packaging.roots recipes    that of `python -m test.recipes`

They have Python and systemd, and what the package for Debian depends on, because the tests install it without a
network, and sshd and ClusterShell; that of the recipes has more programs for clusters. Nothing but the standard library
is needed here: a build machine fetches before the environment of the tests is made.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

_BASE = ["python3.11", "systemd", "systemd-sysv", "dbus", "iproute2", "logrotate", "procps"]
_BASE += ["openssh-server", "clustershell"]
_CLUSTER = ["pdsh", "slurmctld", "slurmd", "slurm-client", "munge", "ansible-core", "python3-apt", "cloud-init", "curl"]
_CLUSTER += ["buildah"]
_CLUSTER += ["python3-cffi-backend", "netavark"]  # debootstrap does not find packages that only provide another
ROOTS = {"tests": _BASE, "recipes": _BASE + _CLUSTER}
"""The Debian packages of each root directory."""
SUITE = "bookworm"
"""The Debian that has this Python."""

_PATIENCE = 1800.0  # seconds
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xget-tests-packaging-2"
"""It has another name when other packages are needed. Tests change the variable later."""


class Missing(Exception):
    """What is neither here nor can be made, and what to do, in one line."""


def root_of(name: str = "tests") -> Path:
    """One of ROOTS; nobody may change it. Raises Missing."""
    place = _CACHE / f"{SUITE}-{name}"
    if place.is_dir():
        return place
    if os.geteuid() != 0:
        raise Missing("needs root, as debootstrap does")
    if shutil.which("debootstrap") is None:
        raise Missing("debootstrap is not installed (apt install debootstrap)")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with open(_CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():  # another run may have been faster
            _make(place, ROOTS[name])
    return place


def _make(place: Path, included: list[str]) -> None:
    work = place.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    # What it mounts is gone with it, whatever becomes of it.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={','.join(included)}"]
    done = subprocess.run(
        [*command, SUITE, str(work), _archive()], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise Missing(f"debootstrap cannot make a root directory: {last}")
    shutil.rmtree(work / "var/cache/apt/archives", ignore_errors=True)
    (work / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    work.rename(place)


def _archive() -> str:
    """Where apt gets the packages of this suite from. Raises Missing."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"]
    if shutil.which("apt-get") is None:
        raise Missing(f"this is no Debian, but {platform.system()}")
    listed = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True).stdout
    for line in listed.splitlines():
        words = line.split()
        if words[1:] == [SUITE, "main"]:
            return words[0]
    raise Missing(f"apt has no archive of {SUITE} (apt-get update?)")


if __name__ == "__main__":
    if not set(sys.argv[1:]) <= set(ROOTS) or len(sys.argv) > 2:
        sys.exit(f"usage: python3 -m test.packaging.roots [{'|'.join(ROOTS)}]")
    try:
        print(root_of(*sys.argv[1:]))
    except Missing as missing:
        sys.exit(str(missing))
