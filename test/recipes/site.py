"""What recipes need before and after: content at the head, and whether nodes have it."""

from __future__ import annotations

from test.packaging.system import System
from test.recipes.document import commands

_CONTENT = """\
mkdir -p /srv/images/boot
head -c 8000000 /dev/urandom >/srv/images/root.img
echo kernel >/srv/images/boot/vmlinuz
ln -s boot/vmlinuz /srv/images/current
"""
_DIGEST = 'cd "$1" && tar --create --sort=name --exclude=.xget . | sha256sum'


def serve_images(head: System) -> None:
    """Starts a master without systemd, as the document says."""
    head.shell(_CONTENT)
    head.shell(commands("The master")[-1])


def digest(system: System, directory: str) -> str:
    """Of everything below a directory, with owners, modes and times."""
    return system.run("sh", "-euc", _DIGEST, "sh", directory).stdout
