"""cloud-init: the first boot of a node, whose user data is in a file of the data source NoCloud."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from test.recipes.document import ROOT, commands
from test.recipes.machines import Machines
from test.recipes.site import digest, serve_images
from test.support.cluster import eventually

_SEED = "var/lib/cloud/seed/nocloud"


def run_recipe(root: Path, package: Path, place: Path) -> None:
    files = {
        f"{_SEED}/user-data": (ROOT / "conf/cloud-init/user-data").read_text(),
        "etc/cloud/cloud.cfg.d/locale.cfg": "locale: false\n",  # the package for locales is not installed
        f"{_SEED}/meta-data": "instance-id: first\nlocal-hostname: node1\n",
    }
    validate, publish = commands("cloud-init")
    with closing(Machines(["node1"], root, place, boot=["node1"], later=["node1"], files=files)) as cluster:
        head = cluster.head
        shutil.copy(package, head.shared / "xget.deb")
        head.shell("dpkg --install /mnt/xget.deb && mkdir /srv/packages && cp /mnt/xget.deb /srv/packages")
        serve_images(head)
        assert "Valid" in head.shell(validate)
        head.shell(f"{publish} >/dev/null 2>&1 &")  # it ends with the machine
        eventually(lambda: head.shell("ss --listening --tcp --no-header sport = :8000"), "a web server")
        cluster.switch_on("node1")
        node = cluster["node1"]
        status = node.run("cloud-init", "status", "--wait", "--long", check=False).stdout
        log = node.run("cat", "/var/log/cloud-init-output.log", check=False).stdout
        assert "status: done" in status, status + log
        assert node.shell("systemctl is-active xget-client@images").strip() == "active"
        assert node.shell("systemctl is-enabled xget-client@images").strip() == "enabled"
        assert digest(node, "/var/lib/images") == digest(head, "/srv/images")
        assert "expected: 1 of 1" in head.shell("xget status -n head --expect node1")
