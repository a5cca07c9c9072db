"""A Linux kernel mounts a master in every dialect, and everything that is read there is right.

The machine is started once, does all checks in all mounts, and goes off; each test here is the result of one check in
one mount. Debian's kernel and busybox are fetched where they are not installed; QEMU must be installed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from test.kernel import packages, served
from test.kernel.initramfs import build
from test.kernel.inside import CASES
from test.kernel.machine import Machine
from test.kernel.reading import FIND
from test.support.cluster import Cluster, Master
from test.support.installed import lacking
from test.support.leftovers import MARK

REMARK = "a line from a virtual machine"
_PATIENCE = 500.0  # seconds for everything in the machine; a tenth of it is usual if nothing runs beside it


@dataclass(frozen=True)
class Laboratory:
    """A master, and all that a machine needs to look at it."""

    base: Path
    master: Master
    kernel: packages.Kernel
    initramfs: Path
    environment: dict[str, str]


@dataclass
class Findings:
    """What was said in the machine."""

    results: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    last_words: str = ""


@pytest.fixture(scope="module")
def laboratory(shared_cluster: Cluster) -> Laboratory:
    try:
        packages.qemu()
        kernel, busybox = packages.kernel(), packages.busybox()
    except packages.Missing as missing:
        lacking(f"no virtual machine: {missing}")
    base = shared_cluster.base
    facts = served.make(base / "served", busybox)
    master = shared_cluster.master(base / "served")
    facts |= {"port": master.port, "files": master.status()["files"], "remark": REMARK}
    initramfs = base / "initramfs"
    initramfs.write_bytes(build(kernel, busybox, "test.kernel.inside", json.dumps(facts).encode(), [FIND]))
    return Laboratory(base, master, kernel, initramfs, {MARK: shared_cluster.mark})


@pytest.fixture(scope="module")
def findings(laboratory: Laboratory) -> Findings:
    console = laboratory.base / "console"
    machine = Machine(laboratory.kernel, laboratory.initramfs, console, laboratory.environment)
    findings = Findings()
    for said in machine.says(_PATIENCE):
        if said.get("please") == "change":
            served.change(laboratory.base / "served")
        else:
            findings.results[said["mount"], said["check"]] = said
    findings.last_words = machine.last_words()
    return findings


def test_everything_is_there(laboratory: Laboratory) -> None:
    """By itself, as it may take as long as all that follows: packages are fetched, once."""
    assert laboratory.initramfs.exists()


RESULTS = [
    (mount.name, name)
    for mount, checks in CASES.items()
    for name in ("mount", *(check.name for check in checks), "unmount")
]


@pytest.mark.parametrize(("mount", "check"), RESULTS)
def test_linux(findings: Findings, mount: str, check: str) -> None:
    result = findings.results.get((mount, check))
    assert result, f"was not reached: {findings.last_words}"
    assert "began" not in result, f"did not end: {findings.last_words}"
    assert result["failed"] is None, result["failed"]


def test_what_is_written_to_the_log_arrives(laboratory: Laboratory, findings: Findings) -> None:
    assert findings.results
    laboratory.master.logged(REMARK)
