"""What recipes need before and after: content at the head, and whether nodes have it."""

from __future__ import annotations

import shutil
from pathlib import Path

from test.packaging.system import System
from test.recipes.document import commands

CONTENT = """\
mkdir -p /srv/images/boot
head -c 8000000 /dev/urandom >/srv/images/root.img
echo kernel >/srv/images/boot/vmlinuz
ln -s boot/vmlinuz /srv/images/current
"""
_DIGEST = 'cd "$1" && tar --create --sort=name --exclude=.xget . | sha256sum'


def put_examples(system: System, package: Path) -> None:
    """The examples of a package, where it is not installed yet: an administrator has them in a checkout."""
    shutil.copy(package, system.shared / "examples.deb")
    system.shell("dpkg-deb --fsys-tarfile /mnt/examples.deb | tar -x -C / ./usr/share/doc/xget")


def serve_images(head: System) -> None:
    """Starts a master without systemd, as the document says."""
    head.shell(CONTENT)
    head.shell(commands("The master")[-1])


def digest(system: System, directory: str) -> str:
    """Of everything below a directory, with owners, modes and times."""
    return system.run("sh", "-euc", _DIGEST, "sh", directory).stdout
