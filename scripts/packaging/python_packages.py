"""The wheel and the source package, for pip. They have no environment: pip installs what XGet needs beside it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scripts.packaging.environment import add_commit
from scripts.packaging.files import copy_files, normalize
from scripts.packaging.manual import write_completions, write_pages
from scripts.packaging.programs import run
from scripts.packaging.release import Release

_SETUPTOOLS = "setuptools>=77"
"""What makes wheels without the package `wheel`. Older Pythons come with an older one, newer ones with none."""

_CODE = ("xget_lib", "xget.py", "setup.py", "pyproject.toml", "MANIFEST.in", "Makefile", "LICENSE", "README.md")
_OTHERS = ("CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "conf", "docs", "scripts", "test", "share")


def build_wheel(release: Release, output: Path) -> Path:
    return _build(release, output, "build_wheel")


def build_sdist(release: Release, output: Path) -> Path:
    return _build(release, output, "build_sdist")


def copy_sources(release: Release, place: Path) -> None:
    """The sources as they are in the source package: with the commit, manual pages and completions."""
    copy_files(release.root, place, [*_CODE, *_OTHERS])
    add_commit(release, place)
    write_pages(release, place / "share/man")
    write_completions(release, place / "share")
    normalize(place, release.epoch)


def _build(release: Release, output: Path, what: str) -> Path:
    """Calls the build backend that pyproject.toml names. Raises Refused."""
    with tempfile.TemporaryDirectory(prefix="xget-python-") as work:
        tools, sources = Path(work) / "tools", Path(work) / "sources"
        sources.mkdir()
        copy_sources(release, sources)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-conflicts"]
        run([*pip, "--target", tools, _SETUPTOOLS])
        code = f"import sys; from setuptools import build_meta; print('made', build_meta.{what}(sys.argv[1]))"
        environment = {"PYTHONPATH": str(tools), "SOURCE_DATE_EPOCH": str(release.epoch)}
        printed = run([sys.executable, "-c", code, output], cwd=sources, environment=environment)
        return output / printed.split()[-1]
