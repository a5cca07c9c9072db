"""Runs the recipes of docs/recipes.md, as root. Without NAME all of them.

    python -m test.recipes [NAME...]

Names: {names}. The exit status is 0 if all have passed, and 1 if one has
failed or could not run; then a line says why. All together take some ten minutes.

Nothing is installed on this machine. It needs the Debian packages debootstrap, systemd-container, iproute2,
openssh-client and dpkg. debootstrap makes a root directory once, in the cache, with these packages and what they need:
{packages}
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from test.packaging.packages import Packages
from test.packaging.roots import ROOTS, Missing, root_of
from test.recipes import ansible, cloud_init, container, remote_shells, slurm

Recipe = Callable[[Path, Path, Path], None]
"""Gets a root directory, the package for Debian, and an empty directory. Raises AssertionError."""

RECIPES: dict[str, Recipe] = {
    "clustershell": remote_shells.run_clustershell,
    "pdsh": remote_shells.run_pdsh,
    "slurm": slurm.run_recipe,
    "ansible": ansible.run_recipe,
    "cloud-init": cloud_init.run_recipe,
    "container": container.run_recipe,
}
PROGRAMS = {
    "dpkg-deb": "dpkg",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}
"""What is used of this machine, and the Debian packages of it; `root_of` says what it needs."""


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in RECIPES]:
        print(_help() if set(names) & {"-h", "--help"} else f"test.recipes: no recipe {unknown[0]} (see --help)")
        return 0 if set(names) & {"-h", "--help"} else 2
    chosen = names or list(RECIPES)
    if reason := _missing():
        for name in chosen:
            print(f"could not run  {name}: {reason}")
        return 1
    with tempfile.TemporaryDirectory(prefix="xget-recipes-") as work:
        package = Packages(Path(work) / "packages").deb()
        passed = [_run(name, root_of("recipes"), package, Path(work) / name) for name in chosen]
    return int(not all(passed))


def _run(name: str, root: Path, package: Path, place: Path) -> bool:
    started = time.monotonic()
    try:
        RECIPES[name](root, package, place)
    except (AssertionError, subprocess.SubprocessError) as error:
        print(f"failed         {name}: {error}", flush=True)
        return False
    print(f"passed         {name}, {time.monotonic() - started:.0f} s", flush=True)
    return True


def _missing() -> str:
    """Why no recipe can run here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for program, package in PROGRAMS.items():
        if not shutil.which(program):
            return f"{program} is not installed (apt install {package})"
    try:
        root_of("recipes")
    except Missing as missing:
        return str(missing)
    return ""


def _help() -> str:
    packages = textwrap.fill(" ".join(ROOTS["recipes"]), 100, initial_indent="    ", subsequent_indent="    ")
    return (__doc__ or "").format(names=" ".join(RECIPES), packages=packages).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
