"""What the processes of a master and of a plain client import, and the lists of what they may."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from test.support.cluster import Cluster
from test.support.trees import noise, write

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LISTS = HERE / "imports"
BEFORE: Mapping[str, str | None] = {"client": None, "node": "client", "master": None, "worker": "master"}
"""The processes, and from which each is forked: what that had imported is not in the list of the other."""
_ABOUT = {
    "client": "the foreground half of a plain client, nearly all of it before it forks",
    "node": "the background half of a plain client, from the fork to the end of the download",
    "master": "a master, the nursery included",
    "worker": "a worker, from its fork until it has scanned, hashed and served",
}
_HEAD = """\
# The imports of {about}, with milliseconds.
# Modules of XGet one by one; of others the package, with all modules of it. Python {python}.
# Each line is a part of every start. `python -m test.start --write` writes new modules here; without this file, all.
"""
PYTHON = ".".join(platform.python_version_tuple()[:2])


def imported(cluster: Cluster) -> dict[str, set[str]]:
    """The modules that each process imports in a download of 10 KB, by the names of BEFORE."""
    served = cluster.base / "served"
    served.mkdir()
    write(served / "file", noise(10_000, 1))
    master = cluster.master(served, environment=_recording(cluster.base / "imports-master"))
    ended = cluster.run(
        *("--config=", "-q", "-n", "127.0.0.1", "-p", str(master.port), "--linger", "0", ".", cluster.base / "dest"),
        environment=_recording(cluster.base / "imports-client"),
    )
    assert ended.status == 0, ended
    client = _read(cluster.base / "imports-client")
    serving = _read(cluster.base / "imports-master")
    # Of several workers each imports something alone, such as the hash function: all of them count.
    workers = [names for names in serving if "xget_lib.worker.worker" in names]
    assert len(client) == 2 and workers, (client, serving)
    return {
        "client": client[0],
        "node": client[1],
        "master": set().union(*(names for names in serving if names not in workers)),
        "worker": set().union(*workers),
    }


def _recording(to: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(HERE / "recorder"), "IMPORTS_FILE": str(to)}


def _read(path: Path) -> list[set[str]]:
    """What each process imports, the first process first."""
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        pid, name = line.split()
        found.setdefault(pid, set()).add(name)
    return list(map(_shown, found.values()))


def _shown(names: set[str]) -> set[str]:
    """As the lists have them. What looks for a module that does not exist does not import it."""
    ours = {name for name in names if name.startswith("xget_lib")}
    others = {name.split(".")[0] for name in names} - {"xget_lib"}
    return ours | {name for name in others if not name.startswith("_") and find_spec(name)}


def listed(process: str) -> tuple[str, dict[str, float]]:
    """The version of Python that a list is for, and its modules with their milliseconds."""
    text = (LISTS / f"{process}.txt").read_text()
    version = re.search(r"Python (\d+\.\d+)", text)
    assert version, process
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return version[1], {name: float(milliseconds) for milliseconds, name in lines}


def write_lists(found: Mapping[str, set[str]], runs: int) -> None:
    """What is listed already keeps its milliseconds, so that a change of the lists shows modules, not noise."""
    for process, names in found.items():
        known = listed(process)[1] if (LISTS / f"{process}.txt").exists() else {}
        first = BEFORE[process]
        before = sorted(found[first]) if first else []
        took = _milliseconds(before, sorted(names), runs) | known
        lines = [f"{took.get(name, 0.0):6.1f}  {name}\n" for name in sorted(names)]
        LISTS.mkdir(exist_ok=True)
        (LISTS / f"{process}.txt").write_text(_HEAD.format(about=_ABOUT[process], python=PYTHON) + "".join(lines))


def _milliseconds(before: Sequence[str], names: Sequence[str], runs: int) -> dict[str, float]:
    """The least that the import of each took by itself, without what it imports."""
    code = "".join(f"import {name}\n" for name in [*before, *names])
    least: dict[str, float] = {}
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        took: dict[str, float] = {}
        for line in done.stderr.splitlines():
            own, _, name = line.removeprefix("import time:").split("|")
            if own.strip().isdecimal():
                name = name.strip() if name.strip().startswith("xget_lib") else name.strip().split(".")[0]
                took[name] = took.get(name, 0.0) + int(own) / 1000
        for name, milliseconds in took.items():
            least[name] = min(least.get(name, milliseconds), milliseconds)
    return least


def compare(found: Callable[[str], set[str]], process: str) -> list[str]:
    """What is wrong with a list, for people. With another version of Python, only our own modules are compared."""
    version, names = listed(process)
    modules = found(process)
    ours_only = version != PYTHON
    new = sorted(name for name in modules - names.keys() if name.startswith("xget_lib") or not ours_only)
    gone = sorted(name for name in names.keys() - modules if name.startswith("xget_lib"))
    return [f"the {process} imports {name}, too" for name in new] + [f"no {process} imports {name}" for name in gone]
