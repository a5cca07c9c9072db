"""The recipe for ClusterShell: eight nodes, of which two fail at first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from test.packaging.packages import Packages
from test.packaging.roots import Missing, root_of
from test.recipes.document import commands
from test.recipes.machines import Machines, machines, nodes
from test.recipes.site import digest, serve_images
from test.support.installed import lacking

pytestmark = pytest.mark.root


@pytest.fixture
def cluster_of_8(tmp_path: Path, packages: Packages) -> Iterator[Machines]:
    try:
        root = root_of()
    except Missing as missing:
        lacking(str(missing))
    with machines(nodes(8), root, tmp_path, package=packages.deb()) as made:
        yield made


def test_clush_distributes_names_who_failed_and_stops(cluster_of_8: Machines) -> None:
    distribute, expect, stop = commands("ClusterShell")
    run_clush(cluster_of_8, distribute, expect, stop)


def run_clush(cluster: Machines, distribute: str, expect: str, stop: str) -> None:
    head = cluster.head
    serve_images(head)
    cluster["node3"].shell("touch /var/lib/images")
    cluster.stop_sshd("node5")

    done = head.run("bash", "-c", distribute, check=False)
    assert done.returncode == 255, done.stdout
    assert "node3: xget: /var/lib/images: Not a directory" in done.stdout
    assert "clush: node3: exited with exit code 6" in done.stdout
    assert "clush: node5: exited with exit code 255" in done.stdout
    done = head.run("bash", "-c", expect, check=False)
    assert done.returncode == 1, done.stdout
    assert "1 missing: node5" in done.stdout
    assert "1 failed: node3" in done.stdout
    assert "expected: 6 of 8" in done.stdout

    cluster["node3"].shell("rm /var/lib/images")
    cluster.start_sshd("node5")
    head.shell(distribute)
    assert "expected: 8 of 8" in head.shell(expect)
    assert {digest(each, "/var/lib/images") for each in cluster.nodes.values()} == {digest(head, "/srv/images")}
    assert head.shell("clush -w node[1-8] xget status").count("serves 100 %") == 8

    assert head.shell(stop).count("stopped: child of /var/lib/images") == 8
    assert "expected: 8 of 8" in head.shell(expect), "nodes that have left have what they fetched"
    head.shell("xget stop")
