"""What `xget doctor` says of networks that have something wrong: hosts in namespaces of their own. Needs root.

    python -m test.support.doctor_hosts DIRECTORY

To be run by `examined`. Prints, as JSON, what was found in each situation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from test.faults.hosts import Host, Network
from test.support.cluster import ROOT, Cluster, eventually
from test.support.processes import PATIENCE
from test.support.trees import noise

PROGRAMS = ("setpriv", "unshare", "nsenter", "ip", "tc", "mount")
PORT = 20004
_LIMIT = 20 * PATIENCE
_ALONE = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
_ALONE += ["--mount-proc", "--propagation", "private"]

Situation = dict[str, Any]
"""`status`: the exit status. `found`: the findings, objects of --json."""


def examined(directory: Path) -> dict[str, Situation]:
    """What this program finds, run in namespaces of its own. The kernel ends all that is in them."""
    command = [*_ALONE, sys.executable, "-m", "test.support.doctor_hosts", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Situation] = json.loads(done.stdout.splitlines()[-1])
    return found


class _Examination:
    def __init__(self, cluster: Cluster, head: Host, node: Host) -> None:
        self.found: dict[str, Situation] = {}
        self._cluster = cluster
        self._head = head
        self._node = node

    def ask(self, situation: str, *options: str) -> Situation:
        """Run the command on the node, for the master on the head."""
        host = [] if "-n" in options else ["-n", self._head.address]
        ended = self._cluster.run("doctor", "--json", *host, *options, prefix=self._node.prefix)
        *found, _ = ended.events or [{}]
        self.found[situation] = {"status": ended.status, "found": found, "stderr": ended.stderr}
        return self.found[situation]


def _mtu(host: Host, mtu: int) -> None:
    host.inside("ip", "link", "set", "eth0", "mtu", str(mtu))


def _serves(situation: Situation) -> bool:
    return any(each["check"] == "rate" for each in situation["found"])


def main(directory: Path) -> None:
    source = directory / "source"
    source.mkdir()
    (source / "content").write_bytes(noise(4_000_000, 1))
    network = Network()
    head, node = network.host(1000), network.host(1000)
    cluster = Cluster(directory)
    try:
        master = ["-p", str(PORT), "-w", "1", "--cache", str(directory / "cache"), str(source)]
        cluster.start(*master, prefix=head.prefix)
        asking = _Examination(cluster, head, node)
        eventually(lambda: _serves(asking.ask("well")), "the master serves", 3 * PATIENCE)
        asking.ask("well")
        asking.ask("wrong port", "-p", "9")
        node.refuse(head, refused=True)
        asking.ask("no route")
        node.refuse(head, refused=False)
        asking.ask("no such machine", "-n", "10.77.0.99")
        # The answers of the master are lost, without a word.
        head.inside("ip", "route", "add", "blackhole", f"{node.address}/32")
        asking.ask("all is dropped")
        head.inside("ip", "route", "delete", "blackhole", f"{node.address}/32")
        head.inside("ip", "rule", "add", "ipproto", "tcp", "sport", str(PORT), "blackhole")
        asking.ask("the port is dropped")
        head.inside("ip", "rule", "delete", "ipproto", "tcp", "sport", str(PORT), "blackhole")
        _mtu(node, 1300)
        asking.ask("a small MTU here")
        # Both ends take jumbo frames, and what is between them drops them.
        for host in (head, node):
            _mtu(host, 9000)
            host.inside("ip", "link", "set", "eth0", "gso_max_segs", "1")
        asking.ask("large packets are lost")
        print(json.dumps(asking.found))
    finally:
        cluster.close()
        network.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
