"""The packages, and systems to install them in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from test.packaging.packages import Packages
from test.packaging.roots import Missing, root_of
from test.packaging.system import System
from test.support.installed import lacking


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent  # one for all workers
    return Packages(base / "packages")


@pytest.fixture
def new_system(tmp_path: Path) -> Iterator[Callable[[bool], System]]:
    """Makes systems without a network: booted by systemd, or only a root directory. They end with the test."""
    systems: list[System] = []

    def make(boot: bool) -> System:
        try:
            root = root_of()
        except Missing as missing:
            lacking(str(missing))
        if boot and shutil.which("systemd-nspawn") is None:
            lacking("systemd-nspawn is not installed (apt install systemd-container)")
        systems.append(System(root, tmp_path / f"system{len(systems)}", boot))
        return systems[-1]

    try:
        yield make
    finally:
        for system in systems:
            system.close()


@pytest.fixture
def system(new_system: Callable[[bool], System]) -> System:
    return new_system(False)


@pytest.fixture
def booted(new_system: Callable[[bool], System]) -> System:
    return new_system(True)
