"""Markers for directories of slow tests, and fixtures for tests that start whole masters and clients."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from test.support.cluster import SESSION_MARK, Cluster
from test.support.leftovers import end_all, marked, remove_sockets
from test.support.mounted import Mounts
from xget_lib.process import activation, notify

# No deadlines: a busy machine must not fail a test.
settings.register_profile("xget", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)  # for `make unit`
settings.load_profile("xget")


HERE = Path(__file__).parent
MARKERS = {
    "bench": ["slow"],
    "campaigns": ["slow"],
    "clients": ["slow"],
    "download/test_exact.py": ["slow"],
    "end_to_end": ["slow"],
    "faults": ["slow"],
    "fuzz": ["slow"],
    "kernel": ["slow", "qemu"],
    "packaging/test_deb.py": ["slow"],
    "packaging/test_installed_deb.py": ["slow"],
    "packaging/test_python_packages.py": ["slow"],
    "packaging/test_relocatable.py": ["slow"],
    "packaging/test_rpm.py": ["slow"],
    "packaging/test_systemd.py": ["slow"],
    "recipes": ["slow"],
    "sim": ["slow"],
    "test_command.py": ["slow"],
}
"""The markers of all tests below a directory, or in a file, of `test`."""


def pytest_configure() -> None:
    """A shell ignores SIGINT in what it starts in the background. Programs that a test starts would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(HERE)
        for place in (path, *path.parents):
            for name in MARKERS.get(str(place), ()):
                item.add_marker(name)
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
    # The long ones first: if files run beside each other, all processes are busy to the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Masters and clients with their files below tmp_path. They end with the test."""
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """As `cluster`, for all tests of a file: they only read, or each has a destination of its own."""
    cluster = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that every user can write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """Mounts file systems, and unmounts them when the test ends. Only root can: mark the test with `root`."""
    with tempfile.TemporaryDirectory() as base:
        mounts = Mounts(Path(base))
        try:
            yield mounts
        finally:
            mounts.close()


@pytest.fixture(scope="session", autouse=True)
def separate_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what this machine has for real servers from those of tests: the digest cache, and what its service manager
    gives to who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*notify.VARIABLES, *activation.VARIABLES):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails if a process that a test started is still running after all tests."""
    yield
    left = marked(SESSION_MARK)
    end_all(SESSION_MARK)
    remove_sockets()
    assert not left, f"still alive: {left}"
