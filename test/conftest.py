"""Fixtures of the tests that start whole masters and clients."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from test.support.cluster import SESSION_MARK, Cluster
from test.support.leftovers import end_all, marked

# A busy machine is no failure.
settings.register_profile("xget", deadline=None)
settings.load_profile("xget")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Processes below tmp_path; none of them outlives the test."""
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests of a file: for those that only look, or that each have a destination of their own."""
    cluster = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that somebody else can reach and write in."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.fixture(scope="session", autouse=True)
def a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No master that a test starts keeps digests where masters of this machine do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """When all tests have run no process that they started lives, wherever it went."""
    yield
    left = marked(SESSION_MARK)
    end_all(SESSION_MARK)
    assert not left, f"still alive: {left}"
