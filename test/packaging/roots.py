"""The root directory of a small Debian, made by debootstrap once and then cached.

    python3 -m test.packaging.roots        makes it, as root, so that the tests find it

It has Python and systemd, and what the package for Debian depends on, because the tests install it without a network.
Nothing but the standard library is needed here: a build machine fetches before the environment of the tests is made.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

INCLUDED = ("python3.11", "systemd", "systemd-sysv", "dbus", "iproute2", "logrotate", "procps")
SUITE = "bookworm"
"""The Debian that has this Python."""

_PATIENCE = 900.0  # seconds
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xget-tests-packaging-1"
"""It has another name when other packages are needed. Tests change the variable later."""


class Missing(Exception):
    """What is neither here nor can be made, and what to do, in one line."""


def root_of() -> Path:
    """The directory; nobody may change it. Raises Missing."""
    place = _CACHE / SUITE
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
            _make(place)
    return place


def _make(place: Path) -> None:
    work = place.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    # What it mounts is gone with it, whatever becomes of it.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}"]
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
    try:
        print(root_of())
    except Missing as missing:
        sys.exit(str(missing))
