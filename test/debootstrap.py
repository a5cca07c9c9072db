"""A root file system as debootstrap makes it arrives exactly, and so does an update of it.

    .venv/bin/python -m test.debootstrap    as root, with debootstrap and rsync installed (./scripts/test makes .venv)

It is no part of scripts/test: it needs a Debian or Ubuntu with its package archive, which it takes from the
configuration of apt, 2 GB below --directory, and some minutes.

One of everything that a copy must keep is planted in the tree. It is served by a real master and downloaded by a real
client; rsync, told to look at everything, must find nothing to do, and the copy must have the generation of the
original, since rsync compares whole seconds only. Then a package is replaced as dpkg does it, and a file removed,
and the next client has to bring that. The exit status is 0 where all was exact.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.bench.loopback import finished, unwind_on_signals
from test.support.cluster import Cluster, Master, eventually
from test.support.downloads import manifest_of
from test.support.leftovers import end_all
from test.support.oddities import odd_tree, rsync_says

_PATIENCE = 900.0  # seconds, for each step
_PACKAGE = "coreutils"
_MARGIN = 1.1
"""How much more than the files that changed an update may fetch."""


class Missing(Exception):
    """What the check cannot be done without, in one line."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m test.debootstrap", description=__doc__.split("\n")[0])
    parser.add_argument("--archive", metavar="URL", help="where packages come from (as apt is configured)")
    parser.add_argument("--suite", help="of the archive (this system's own)")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where there is room (that of temporary files)")
    given = parser.parse_args()
    unwind_on_signals()
    try:
        _look_around()
        archive, suite = _archive(given.archive, given.suite)
        with tempfile.TemporaryDirectory(prefix="xget-debootstrap-", dir=given.directory) as base:
            return _check(Path(base), archive, suite)
    except Missing as missing:
        print(f"python -m test.debootstrap: {missing}", file=sys.stderr)
        return 2


def _check(base: Path, archive: str, suite: str) -> int:
    served, dest = base / "served", base / "dest"
    begun = time.monotonic()
    _make_root(served, archive, suite)
    odd_tree(served / "odd")
    print(f"a root file system of {suite} and one of everything: {time.monotonic() - begun:.0f} s", flush=True)
    cluster = Cluster(base)
    try:
        master = cluster.master(served, "--cache", str(base / "cache"))
        found = _bring(cluster, master, served, dest, "first")
        changed = _replace_package(served)
        _remove_a_file(served)
        master.signal(signal.SIGHUP)
        eventually(lambda: len(_generations(master)) == 2, "the master does not see that files have changed", _PATIENCE)
        found += _bring(cluster, master, served, dest, "update", int(changed * _MARGIN))
        found += _bring(cluster, master, served, dest, "nothing to do", 0)
    finally:
        end_all(cluster.mark)
    return 1 if found else 0


def _generations(master: Master) -> list[str]:
    return re.findall(r" INFO: generation (\w+): ", master.log.read_text())


def _bring(cluster: Cluster, master: Master, served: Path, dest: Path, step: str, most: int = sys.maxsize) -> list[str]:
    """Download, and compare. What is wrong, which has been printed. `most` is how much content may be fetched."""
    ended = cluster.client(master, dest, options=["--linger", "0", "--delete"]).ended(_PATIENCE)
    wrong = ended.stderr.splitlines()
    if ended.status == 0:
        done = ended.done
        print(f"{step}: {done['files']} files, {done['fetched']:,} of {done['bytes']:,} bytes, {done['seconds']:.1f} s")
        wrong += [f"note: {note}" for note in done["notes"]]
        wrong += [f"more was fetched than {most:,} bytes"] * (done["fetched"] > most)
        wrong += _differences(served, dest)
    else:
        wrong.append(f"the client ended with status {ended.status}")
    print(f"{step}: {'NOT ' if wrong else ''}exact", *wrong, sep="\n  ", flush=True)
    if wrong:
        print(f"the master's log:\n{master.log.read_text()}", flush=True)
    return wrong


def _differences(served: Path, dest: Path) -> list[str]:
    wrong = rsync_says(served, dest)
    if not wrong and manifest_of(served).generation != manifest_of(dest).generation:
        there, here = ({entry.path: entry for entry in manifest_of(tree).entries} for tree in (served, dest))
        wrong = [
            f"{there.get(path)}\n  is {here.get(path)}" for path in there | here if there.get(path) != here.get(path)
        ]
    return wrong


# The tree.


def _look_around() -> None:
    """Raises Missing."""
    if os.geteuid() != 0:
        raise Missing("needs root: only root can make devices, and give files away")
    for program, package in (("debootstrap", "debootstrap"), ("rsync", "rsync"), ("unshare", "util-linux")):
        if not shutil.which(program):
            raise Missing(f"{program} is not installed (apt-get install {package})")


def _archive(archive: str | None, suite: str | None) -> tuple[str, str]:
    """URL and suite of what was asked for, or else of what apt gets this system's own packages from. Raises Missing."""
    suite = suite or platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
    if archive is None:
        targets = finished(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"], _PATIENCE)
        own = [words[0] for line in targets.splitlines() if (words := line.split())[1:] == [suite, "main"]]
        if not own:
            raise Missing(f"apt has no archive of {suite} (apt-get update? see --archive and --suite)")
        archive = own[0]
    return archive, suite


def _make_root(served: Path, archive: str, suite: str) -> None:
    # What it mounts is gone with it, whatever becomes of it: nobody may remove a tree with somebody's /proc in it.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase", suite, str(served), archive]
    finished(command, _PATIENCE, stderr=subprocess.STDOUT)


def _replace_package(served: Path) -> int:
    """A newer version of a package, put in place as dpkg does it. Returns the bytes of its files."""
    listed = (served / f"var/lib/dpkg/info/{_PACKAGE}.list").read_text().splitlines()
    files = [path for name in listed if (path := served / name.lstrip("/")).is_file() and not path.is_symlink()]
    for number, path in enumerate(files):
        assert path.resolve().is_relative_to(served.resolve()), f"{path} leads out of the tree"
        content = path.read_bytes()
        new = path.with_name(f"{path.name}.dpkg-new")
        new.write_bytes(content[::-1] if number % 2 else content + b"a newer version\n")
        shutil.copymode(path, new)
        status = path.stat()
        os.chown(new, status.st_uid, status.st_gid)
        new.rename(path)
    return sum(path.stat().st_size for path in files)


def _remove_a_file(served: Path) -> None:
    (served / "etc/debian_version").unlink()


if __name__ == "__main__":
    sys.exit(main())
