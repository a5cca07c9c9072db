"""The Python packages that XGet needs, in one directory that can be copied anywhere, beside XGet itself.

Nothing in it names the place where it was made: it has no scripts and no interpreter, and Python itself corrects the
names of sources in compiled files. It works with the one minor version of Python that it was made for, on any Linux
with a C library that is new enough (`needed_glibc`).
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from pathlib import Path

from scripts.packaging.files import copy_files
from scripts.packaging.programs import run
from scripts.packaging.release import COMMIT_FILE, Release, setup_of

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The interpreter that the packages need: the version that makes them."""

_UNUSED = (
    *("bin", "include", "gevent/tests", "gevent/testing", "greenlet/tests"),
    *("zope/interface/tests", "zope/interface/common/tests"),
)
_UNUSED_SUFFIXES = (".c", ".cc", ".cpp", ".h", ".hpp", ".pxd", ".pyx", ".pyi", ".sh", ".1")
_UNUSED_RECORDS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""pip's own notes: for removing the package with pip, and with paths of the build machine."""

_LAUNCHER = """\
#!{interpreter}
# Runs XGet with the packages in this directory, and no others: -I and -S (together) ignore those of the system and
# of the user, and the variables PYTHON*.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from xget_lib.cli import command

command()
"""


def make_environment(release: Release, place: Path) -> None:
    """Installs the packages that setup.py lists into a directory that does not exist. Raises Refused."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-warn-conflicts", "--only-binary", ":all:", "--target", str(place)]
    setup = setup_of(release.root)
    run([*command, *setup.RUNTIME, *setup.SIGN, *setup.METRICS])
    for name in _UNUSED:
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in sorted(place.rglob("*")):
        in_records = path.parent.name.endswith(".dist-info")
        if path.is_file() and (path.suffix in _UNUSED_SUFFIXES or (in_records and path.name in _UNUSED_RECORDS)):
            path.unlink()
    _compile(place)


def add_xget(release: Release, place: Path, interpreter: str) -> None:
    """Puts XGet into such a directory, with its launcher `xget`. `interpreter` stands in the first line of that."""
    copy_files(release.root, place, ["xget_lib"])
    add_commit(release, place)
    launcher = place / "xget"
    launcher.write_text(_LAUNCHER.format(interpreter=interpreter))
    launcher.chmod(0o755)
    _compile(place / "xget_lib")


def add_commit(release: Release, place: Path) -> None:
    if release.commit:
        (place / COMMIT_FILE).write_text(f"{release.commit}\n")


def needed_glibc(place: Path) -> str:
    """The oldest version of the C library with which all packages below a directory work, such as 2.28."""
    needed = (2, 17)
    for wheel in place.glob("*.dist-info/WHEEL"):
        found = re.findall(r"^Tag: .*manylinux_(\d+)_(\d+)_", wheel.read_text(), re.MULTILINE)
        if found:
            needed = max(needed, min((int(major), int(minor)) for major, minor in found))
    return "{}.{}".format(*needed)


def architecture() -> str:
    """Of the compiled modules, as the kernel names it."""
    return platform.machine()


def _compile(place: Path) -> None:
    """Compiles all modules below a directory, to the same bytes each time. Raises Refused.

    The compiled files hold for any time of their sources: copying a tree often changes that, and who may not write
    there would compile each module in each run. What else a process has compiled or imported shows in the bytes, as
    does the order of sets: hence a process of its own.
    """
    command = [sys.executable, "-m", "compileall", "-q", "-f", "-s", str(place.parent)]
    run([*command, "--invalidation-mode", "unchecked-hash", str(place)], environment={"PYTHONHASHSEED": "0"})
