"""Makes packages of XGet: scripts/package FORMAT... [--output DIR]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.packaging.deb import build_deb
from scripts.packaging.programs import Refused
from scripts.packaging.python_packages import build_sdist, build_wheel
from scripts.packaging.release import Release, read_release
from scripts.packaging.relocatable import build_tar
from scripts.packaging.rpm import build_rpm

ROOT = Path(__file__).resolve().parent.parent.parent
FORMATS: dict[str, Callable[[Release, Path], Path]] = {
    "deb": build_deb,
    "rpm": build_rpm,
    "wheel": build_wheel,
    "sdist": build_sdist,
    "tar": build_tar,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/package",
        description="Makes packages of XGet. docs/operations.md describes how to install them.",
    )
    parser.add_argument("formats", metavar="FORMAT", nargs="+", choices=FORMATS, help=", ".join(FORMATS))
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("dist"), help="where to put them (dist)")
    parser.add_argument("--revision", metavar="N", default="1", help="of a .deb or .rpm of the same version (1)")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    try:
        release = read_release(ROOT, given.revision)
        for name in given.formats:
            print(FORMATS[name](release, given.output.absolute()), flush=True)
    except Refused as refused:
        print(f"scripts/package: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
