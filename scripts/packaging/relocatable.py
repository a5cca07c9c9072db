"""A tree with everything in it, to be unpacked anywhere: a /opt or a network file system that nodes share.

It is laid out like a checkout, so that scripts/xget and conf/ are where the units and the documents say.
"""

from __future__ import annotations

import lzma
import tarfile
import tempfile
from pathlib import Path

from scripts.packaging.environment import PYTHON, add_xget, architecture, make_environment
from scripts.packaging.files import copy_files, normalize
from scripts.packaging.layout import Environment
from scripts.packaging.manual import write_completions, write_pages
from scripts.packaging.release import Release

_SOURCES = ("README.md", "CHANGELOG.md", "LICENSE", "conf", "docs", "scripts/init.d", "scripts/xget-cron")


def build_tar(release: Release, output: Path, environment: Environment | None = None, level: int = 6) -> Path:
    """Makes the archive in the directory `output`, and returns its path. `level`: of xz. Raises Refused."""
    with tempfile.TemporaryDirectory(prefix="xget-tar-") as work:
        place = Path(work) / release.name
        make_tree(release, place, environment)
        archive = output / f"{release.name}-linux-{architecture()}-{PYTHON}.tar.xz"
        with lzma.open(archive, "wb", preset=level) as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
            tar.add(place, arcname=release.name, filter=_anonymous)
        return archive


def make_tree(release: Release, place: Path, environment: Environment | None = None) -> None:
    """Makes the tree, in a directory that does not exist."""
    copy_files(release.root, place, _SOURCES)
    library = place / "lib"
    (environment or (lambda directory: make_environment(release, directory)))(library)
    add_xget(release, library, f"/usr/bin/env -S {PYTHON} -IS")
    (place / "scripts/xget").symlink_to("../lib/xget")
    write_pages(release, place / "share/man")
    write_completions(release, place / "share")
    normalize(place, release.epoch)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
