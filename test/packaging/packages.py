"""Packages of this checkout, each made once for all tests of a run, also of those that run beside it."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scripts.packaging.deb import build_deb
from scripts.packaging.environment import make_environment
from scripts.packaging.python_packages import build_sdist, build_wheel, copy_sources
from scripts.packaging.release import Release, read_release
from scripts.packaging.relocatable import build_tar
from scripts.packaging.rpm import build_rpm

ROOT = Path(__file__).parent.parent.parent
NEWER = "99.1"
"""The version of a package that differs from this checkout only in this, and in a new option in xget.toml."""
NEW_OPTION = "of-a-newer-version"


class Packages:
    """All are below one directory. A method makes what is not there yet, and returns its path."""

    def __init__(self, base: Path) -> None:
        self._base = base
        base.mkdir(parents=True, exist_ok=True)
        self.release = read_release(ROOT)

    def environment(self, place: Path) -> None:
        """Copies the Python packages that XGet needs into a directory that does not exist."""
        made = self._once("environment", lambda work: make_environment(self.release, work / "environment"))
        shutil.copytree(made, place, symlinks=True)

    def deb(self, version: str = "") -> Path:
        """Of this version, or a newer one. It is not compressed: that takes longer than all else."""
        release = self._newer() if version else self.release

        def make(work: Path) -> None:
            build_deb(release, work, self.environment, level=0)

        return self._one(f"deb{version}", make, "*.deb")

    def rpm(self, version: str = "") -> Path:
        release = self._newer() if version else self.release
        return self._one(f"rpm{version}", lambda work: build_rpm(release, work, self.environment, level=0), "*.rpm")

    def tar(self) -> Path:
        return self._one("tar", lambda work: build_tar(self.release, work, self.environment, level=0), "*.tar.xz")

    def sdist(self) -> Path:
        return self._one("sdist", lambda work: build_sdist(self.release, work), "*.tar.gz")

    def wheel(self) -> Path:
        return self._one("wheel", lambda work: build_wheel(self.release, work), "*.whl")

    def _newer(self) -> Release:
        def make(work: Path) -> None:
            place = work / "newer"
            copy_sources(self.release, place)
            module = place / "xget_lib/__init__.py"
            module.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{NEWER}"', module.read_text()))
            with open(place / "conf/xget.toml", "a") as file:
                file.write(f"\n# An option that older versions do not know.\n#: {NEW_OPTION} = 1\n")

        return replace(self.release, root=self._once("newer", make), version=NEWER)

    def _one(self, name: str, make: Callable[[Path], object], pattern: str) -> Path:
        def into(work: Path) -> None:
            (work / name).mkdir()
            make(work / name)

        (package,) = self._once(name, into).glob(pattern)
        return package

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        """What `make` puts under this name into a directory for work."""
        with open(self._base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place = self._base / name
            if not place.exists():
                work = self._base / f"{name}.work"
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
                make(work)
                (work / name).rename(place)
                shutil.rmtree(work)
            return place
