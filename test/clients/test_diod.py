"""diodls and diodcat, of Debian's `diod`: a client of 9P2000.L in C. They take paths, and print what they read."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from test.support.cluster import Master
from test.support.installed import lacking
from test.support.processes import PATIENCE

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


Done = subprocess.CompletedProcess[bytes]


def run(program: str, master: Master, *arguments: str | bytes, aname: str = "files") -> Done:
    found = shutil.which(program, path=_PATH)
    if not found:
        lacking(f"{program} is not installed (apt install diod)")
    command = [found, "-s", f"127.0.0.1:{master.port}", "-a", aname]
    return subprocess.run([*command, *arguments], capture_output=True, timeout=PATIENCE)


def below(source: Path) -> list[Path]:
    return [Path(directory) / name for directory, _, names in os.walk(source) for name in names]


@pytest.mark.parametrize("msize", ["4096", "65536", str(1 << 20)])
def test_the_content_of_every_file_is_right(master: Master, source: Path, msize: str) -> None:
    """Also of those whose names are no text. All together, one behind the other."""
    files = [path for path in below(source) if not path.is_symlink()]
    done = run("diodcat", master, "-m", msize, *(os.fsencode(path.relative_to(source)) for path in files))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize("aname", ["files", ""])
def test_a_directory_is_listed_with_everything_in_it(master: Master, source: Path, aname: str) -> None:
    done = run("diodls", master, "odd", aname=aname)
    assert (done.returncode, done.stderr) == (0, b"")
    # A name of two lines is two lines, here and there.
    expected = b"\n".join(os.listdir(bytes(source / "odd")))
    assert sorted(done.stdout.splitlines()) == sorted(expected.splitlines())


def test_a_long_list_says_what_stat_says(master: Master, source: Path) -> None:
    """Mode, number of names, owner, size and time; links are not followed."""
    listed = [line.split(None, 8) for line in run("diodls", master, "-l", "odd").stdout.splitlines()]
    seen = {line[8]: line for line in listed if len(line) == 9}  # the name of two lines is left out
    names = [name for name in os.listdir(bytes(source / "odd")) if b"\n" not in name]
    assert seen.keys() == {b".", b"..", *names, b"two"}
    for name in names:
        status = os.lstat(os.path.join(bytes(source / "odd"), name))
        mode, links, user, group, size, *date = (word.decode() for word in seen[name][:8])
        # It has no letters for links and for the bits above the permissions.
        assert mode[1:10] == stat.filemode(stat.S_IFREG | status.st_mode & 0o777)[1:]
        assert (mode[0] == "d") == stat.S_ISDIR(status.st_mode)
        assert (int(links), int(size)) == (status.st_nlink, status.st_size)
        assert (user, group) == (pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name)
        assert " ".join(date) == time.strftime("%b %d %H:%M", time.localtime(status.st_mtime))


def test_what_is_not_there_is_said(master: Master) -> None:
    done = run("diodcat", master, "odd/nothing at all")
    assert done.returncode != 0
    assert b"No such file or directory" in done.stderr


def test_an_unknown_tree_is_refused(master: Master) -> None:
    done = run("diodls", master, aname="nothing")
    assert done.returncode != 0
    assert b"No such file or directory" in done.stderr
