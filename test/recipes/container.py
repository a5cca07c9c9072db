"""A container image: built by buildah from a base image that is made here, and run as the client of a master outside.

podman needs control groups, which the namespaces do not have; so buildah runs what the image says.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

from test.packaging.roots import root_of
from test.recipes.document import commands
from test.recipes.machines import Machines
from test.recipes.site import digest, serve_images

_BASE = "docker.io/library/debian:12-slim"
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "/mnt/storage"\nrunroot = "/run/containers"\n'
_LEFT_OUT = ("./var/cache", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/locale", "./usr/share/man")
_IMPORT = f"""\
container=$(buildah from scratch)
buildah add --quiet $container /mnt/base.tar /
buildah commit --quiet $container {_BASE}
buildah rm $container
"""


def run_recipe(root: Path, package: Path, place: Path) -> None:
    files = {"etc/containers/storage.conf": _STORAGE}
    prepare, build, run = commands("A container image")
    with closing(Machines([], root, place, package=package, files=files)) as cluster:
        head = cluster.head
        excluded = [f"--exclude={name}/*" for name in _LEFT_OUT]
        base = ["tar", "--create", f"--file={head.shared / 'base.tar'}", f"--directory={root_of()}", *excluded, "."]
        subprocess.run(base, check=True, timeout=600)
        head.shell(_IMPORT)
        shutil.copy(package, head.shared / "xget.deb")
        head.shell("mkdir /root/image /var/lib/images && cp /mnt/xget.deb /root/image")
        head.shell(prepare)
        head.shell(f"BUILDAH_ISOLATION=chroot {build}")
        serve_images(head)

        before, arguments = run.split(" xget ")
        volume = shlex.split(before)[-1]
        (entry_point,) = json.loads(head.shell("buildah inspect --type image xget"))["OCIv1"]["config"]["Entrypoint"]
        container = head.shell("buildah from xget").strip()
        inside = f"buildah run --isolation chroot --volume {volume} {container} {entry_point}"
        head.shell(f"{inside} {arguments}")
        assert digest(head, "/var/lib/images") == digest(head, "/srv/images")
        assert head.run("sh", "-c", f"{inside} -n head nothing /var/lib/images", check=False).returncode == 4
