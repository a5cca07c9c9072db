"""Slurm, with MUNGE: a prolog that fails on one node, and a job of an ordinary user."""

from __future__ import annotations

import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path

from test.packaging.system import System
from test.recipes.document import commands, settings
from test.recipes.machines import HEAD, Machines, nodes
from test.recipes.site import digest, serve_images
from test.support.cluster import eventually

_COUNT = 3
_CONFIGURATION = f"""\
ClusterName=test
SlurmctldHost={HEAD}
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
NodeName=node[1-{_COUNT}] CPUs=1
PartitionName=all Nodes=ALL Default=YES
"""
_USER = """\
useradd --create-home alice
"""
_DAEMON = """\
mkdir -p /run/munge /var/spool/slurmd /var/spool/slurmctld
chown munge: /run/munge
setpriv --reuid=munge --regid=munge --clear-groups munged
$1
"""
_PATIENCE = 120.0


def run_recipe(root: Path, package: Path, place: Path) -> None:
    # There are no control groups in the namespaces. This plugin does not look for them.
    files = {"etc/slurm/cgroup.conf": "CgroupPlugin=cgroup/v1\n"}
    files["etc/slurm/slurm.conf"] = _CONFIGURATION + settings("Slurm: a prolog")
    with closing(Machines(nodes(_COUNT), root, place, package=package, files=files)) as cluster:
        serve_images(cluster.head)
        for name, system in cluster.machines.items():
            system.shell(_USER)
            system.run("sh", "-euc", _DAEMON, "sh", "slurmctld" if name == HEAD else "slurmd")
        install_prolog, use, see = commands("Slurm: a prolog")
        cluster.head.shell(install_prolog)
        _wait_for_nodes(cluster.head, "idle", _COUNT)
        _prolog(cluster, use, see)
        _job(cluster, *commands("Slurm: in a job"))


def _prolog(cluster: Machines, use: str, see: str) -> None:
    head = cluster.head
    cluster["node2"].shell("touch /var/lib/images")
    _start_as(head, "alice", f"sbatch --nodes={_COUNT} --requeue --wrap 'srun ls /var/lib/images'")
    _wait_for_nodes(head, "drain", 1)
    assert "node2" in head.shell(see)
    status = head.shell("xget status -n head")
    assert "Not a directory" in status, status

    cluster["node2"].shell("rm /var/lib/images")
    head.shell("scancel --user=alice; scontrol update nodename=node2 state=resume")
    _wait_for_nodes(head, "idle", _COUNT)
    _start_as(head, "alice", use)
    assert {digest(node, "/var/lib/images") for node in cluster.nodes.values()} == {digest(head, "/srv/images")}


def _job(cluster: Machines, submit: str) -> None:
    """The home directory of the user is not shared here: the first node has the directory, and gets the output."""
    first = cluster["node1"]
    _start_as(first, "alice", "mkdir ~/data && head -c 4000000 /dev/urandom >~/data/input")
    (expected,) = _start_as(first, "alice", "cd ~/data && sha256sum input").splitlines()
    _start_as(cluster.head, "alice", submit)
    output = first.shell("cat /home/alice/slurm-*.out; rm /home/alice/slurm-*.out")
    assert output.splitlines().count(expected) == _COUNT, output
    _wait_until_nothing_runs(cluster)

    cluster["node2"].shell("chmod 755 /tmp")
    assert _run_as(cluster.head, "alice", submit).returncode == 6
    output = first.shell("cat /home/alice/slurm-*.out; rm /home/alice/slurm-*.out")
    assert "Permission denied" in output, output
    assert "srun: error: node2: task 1: Exited with exit code 6" in output, output
    _wait_until_nothing_runs(cluster)
    cluster["node2"].shell("chmod 1777 /tmp")

    _start_as(cluster.head, "alice", submit.replace("--wait ", "").replace("sha256sum input", "sleep infinity"))
    for node in cluster.nodes.values():
        eventually(partial(_has_child, node), "the job has what it needs", _PATIENCE)
    cluster.head.shell("scancel --user=alice")
    _wait_until_nothing_runs(cluster)


def _has_child(node: System) -> bool:
    return "xget-job" in node.run("xget", "status", "child", check=False).stdout


def _wait_until_nothing_runs(cluster: Machines) -> None:
    """Of jobs, and of XGet on the nodes; nothing is left in /tmp either."""
    head = cluster.head
    eventually(lambda: not head.shell("squeue --noheader"), "the end of all jobs", _PATIENCE)
    for name, node in cluster.nodes.items():
        eventually(partial(_is_clean, node), f"nothing of the job is left on {name}", _PATIENCE)


def _is_clean(node: System) -> bool:
    # The first process of the namespace does not reap.
    left = "ls --directory /tmp/xget-job-* || true; pgrep --list-full --euid alice --runstates R,S,D,T || true"
    return not node.shell(f"({left}) 2>/dev/null").strip()


def _start_as(system: System, user: str, command: str) -> str:
    done = _run_as(system, user, command)
    assert done.returncode == 0, done.stdout
    return done.stdout


def _run_as(system: System, user: str, command: str) -> subprocess.CompletedProcess[str]:
    return system.run("su", "--login", user, "--command", command, check=False)


def _wait_for_nodes(head: System, state: str, count: int) -> None:
    def enough() -> bool:
        return head.shell(f"sinfo --Node --noheader --states={state} --format=%N").count("node") == count

    eventually(enough, f"{count} nodes are {state}", _PATIENCE)
