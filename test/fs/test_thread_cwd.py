"""The current directory of one thread: other threads keep theirs, and no file system stays in use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from xget_lib.fs import thread_cwd


def reached(directory: Path) -> tuple[bytes, bytes, str]:
    """The path of "name" in a directory, what this file contains, and the current directory afterwards."""
    descriptor = os.open(directory, os.O_PATH)
    try:
        with thread_cwd.inside(descriptor) as path_of:
            path = path_of(b"name")
            with open(path, "rb") as file:
                content = file.read()
        return path, content, os.readlink("/proc/thread-self/cwd")
    finally:
        os.close(descriptor)


def in_a_thread(call: Callable[[], tuple[bytes, bytes, str]]) -> tuple[bytes, bytes, str]:
    results: list[tuple[bytes, bytes, str]] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "name").write_bytes(b"content")
    return tmp_path


def test_a_thread_has_its_own(directory: Path) -> None:
    before = os.getcwd()
    assert in_a_thread(lambda: reached(directory)) == (b"name", b"content", "/")
    assert os.getcwd() == before


def test_the_first_thread_keeps_the_process_s(directory: Path) -> None:
    before = os.getcwd()
    path, content, after = reached(directory)
    assert path.startswith(b"/proc/self/fd/")
    assert (content, after) == (b"content", before)


def test_where_it_is_not_allowed_the_long_way_is_taken(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.getcwd()
    monkeypatch.setattr(thread_cwd, "unshare_cwd", lambda: False)
    path, content, after = in_a_thread(lambda: reached(directory))
    assert path.startswith(b"/proc/self/fd/")
    assert (content, after) == (b"content", before)


def test_it_may_be_nested(directory: Path) -> None:
    (directory / "below").mkdir()
    (directory / "below" / "name").write_bytes(b"below")

    def nested() -> tuple[bytes, bytes, str]:
        outer = os.open(directory, os.O_PATH)
        try:
            with thread_cwd.inside(outer) as path_of:
                _, inner, _ = reached(directory / "below")
                return inner, Path(os.fsdecode(path_of(b"name"))).read_bytes(), ""
        finally:
            os.close(outer)

    assert in_a_thread(nested) == (b"below", b"content", "")


def test_without_proc_the_first_thread_changes_that_of_the_process_for_a_moment(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.getcwd()
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert reached(directory) == (b"name", b"content", before)
