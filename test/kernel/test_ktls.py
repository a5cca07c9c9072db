"""With the module `tls`, a Linux kernel encrypts what a TLS server sends, also from files (sendfile)."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.kernel import packages
from test.kernel.initramfs import build
from test.kernel.ktls import SIZE
from test.kernel.machine import Machine
from test.support.cluster import Cluster
from test.support.installed import lacking
from test.support.leftovers import MARK

_MODULES = ("ctr", "ghash-generic", "gcm", "tls")
"""With the cipher, which the kernel would load by itself in a system that has modprobe."""
_PATIENCE = 500.0  # seconds for everything in the machine; a fiftieth of it is usual


@pytest.fixture(scope="module")
def laboratory(shared_cluster: Cluster) -> tuple[packages.Kernel, Path]:
    """A kernel, and what it starts with."""
    try:
        packages.qemu()
        kernel, busybox = packages.kernel(), packages.busybox()
    except packages.Missing as missing:
        lacking(f"no virtual machine: {missing}")
    initramfs = shared_cluster.base / "initramfs"
    initramfs.write_bytes(build(kernel, busybox, "test.kernel.ktls", b"", [], _MODULES))
    return kernel, initramfs


def test_everything_is_there(laboratory: tuple[packages.Kernel, Path]) -> None:
    """By itself, as it may take as long as what follows: packages are fetched, once."""
    assert laboratory[1].exists()


def test_a_kernel_with_the_module_tls_encrypts_what_sendfile_sends(
    laboratory: tuple[packages.Kernel, Path], shared_cluster: Cluster
) -> None:
    machine = Machine(*laboratory, shared_cluster.base / "console", {MARK: shared_cluster.mark})
    said = list(machine.says(_PATIENCE))
    assert said, machine.last_words()
    (found,) = said
    assert found["in_kernel"], found
    assert (found["bytes"], found["exact"]) == (6 + SIZE, True)
    print(found)
