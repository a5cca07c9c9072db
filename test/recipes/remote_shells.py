"""ClusterShell and pdsh: one command on eight nodes, of which two fail at first."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from test.recipes.document import commands
from test.recipes.machines import Machines, nodes
from test.recipes.site import digest, serve_images

FAILURES = {
    "ClusterShell": "clush: {node}: exited with exit code {status}",
    "pdsh": "pdsh@head: {node}: ssh exited with exit code {status}",
}
"""How each says that a node failed."""


def run_clustershell(root: Path, package: Path, place: Path) -> None:
    _run_recipe(root, package, place, "ClusterShell")


def run_pdsh(root: Path, package: Path, place: Path) -> None:
    _run_recipe(root, package, place, "pdsh")


def _run_recipe(root: Path, package: Path, place: Path, heading: str) -> None:
    """The commands of a section."""
    with closing(Machines(nodes(8), root, place, package=package)) as cluster:
        _fail_and_mend(cluster, heading)


def _fail_and_mend(cluster: Machines, heading: str) -> None:
    """With a node whose destination is a file, and one that ssh cannot log in to."""
    distribute, expect, stop = commands(heading)
    head = cluster.head
    serve_images(head)
    cluster["node3"].shell("touch /var/lib/images")
    cluster.stop_sshd("node5")

    done = head.run("bash", "-c", distribute, check=False)
    assert done.returncode == 255, done.stdout
    assert "node3: xget: /var/lib/images: Not a directory" in done.stdout
    assert FAILURES[heading].format(node="node3", status=6) in done.stdout, done.stdout
    assert FAILURES[heading].format(node="node5", status=255) in done.stdout, done.stdout
    done = head.run("bash", "-c", expect, check=False)
    assert done.returncode == 1, done.stdout
    assert "expected: 6 of 8" in done.stdout
    assert "1 missing: node5" in done.stdout
    assert "1 failed: node3" in done.stdout

    cluster["node3"].shell("rm /var/lib/images")
    cluster.start_sshd("node5")
    head.shell(distribute)
    assert "expected: 8 of 8" in head.shell(expect)
    assert {digest(node, "/var/lib/images") for node in cluster.nodes.values()} == {digest(head, "/srv/images")}

    assert head.shell(stop).count("stopped: child of /var/lib/images") == 8
    assert "expected: 8 of 8" in head.shell(expect), "nodes that have left have what they fetched"
    head.shell("xget stop")
