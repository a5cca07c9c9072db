"""Ansible: a role that installs and starts XGet on a head node and two nodes, which systemd has booted."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

from test.packaging.system import System
from test.recipes.document import commands
from test.recipes.machines import HEAD, Machines, nodes
from test.recipes.site import CONTENT, digest, put_examples

_COUNT = 2


def run_recipe(root: Path, package: Path, place: Path) -> None:
    names = nodes(_COUNT)
    files = {"etc/cloud/cloud-init.disabled": ""}
    with closing(Machines(names, root, place, boot=[HEAD, *names], files=files)) as cluster:
        head = cluster.head
        head.shell(CONTENT)
        put_examples(head, package)
        shutil.copy(package, head.shared / "xget.deb")
        head.run("cp", "/mnt/xget.deb", "/root/xget.deb")
        copy, play, stop = commands("Ansible")
        head.shell(copy)

        cluster["node2"].shell("touch /var/lib/images")
        done = head.run("sh", "-c", play, check=False)
        assert done.returncode == 2, done.stdout
        assert _recap(done.stdout, "failed") == {"head": 0, "node1": 0, "node2": 1}, done.stdout
        failed = cluster["node2"].run("systemctl", "status", "xget-client@images", check=False).stdout
        assert "/var/lib/images: Not a directory" in failed, failed

        cluster["node2"].shell("rm /var/lib/images")
        assert _recap(head.shell(play), "failed") == {"head": 0, "node1": 0, "node2": 0}
        assert {digest(node, "/var/lib/images") for node in cluster.nodes.values()} == {digest(head, "/srv/images")}
        output = head.shell(play)
        assert _recap(output, "changed") == {"head": 0, "node1": 0, "node2": 0}, output
        assert "expected: 2 of 2" in head.shell("xget status -n head --expect node[1-2]")

        head.shell(stop)
        for node in cluster.nodes.values():
            assert _state(node) == "inactive"


def _recap(output: str, column: str) -> dict[str, int]:
    """A column of what Ansible says at the end, by host."""
    rows = re.findall(rf"^(\S+) +: ok=.* {column}=(\d+)", output, re.MULTILINE)
    return {name: int(count) for name, count in rows}


def _state(node: System) -> str:
    return node.run("systemctl", "is-active", "xget-client@images", check=False).stdout.strip()
