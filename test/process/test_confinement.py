"""Keeping only what serving needs: what a process can do afterwards, and that other processes are as before."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from test.support.forked import in_child
from xget_lib.fs import syscalls
from xget_lib.process.confinement import keep_only_reading
from xget_lib.process.privileges import DAC_READ_SEARCH


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory in which a process may write, beside one in which it may not."""
    for name in ("log", "content"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("old")
    return tmp_path


def refused(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError as error:
        assert error.errno in (errno.EACCES, errno.EPERM, errno.EXDEV)  # the last for what links and renames
        return True
    return False


def test_a_confined_process_reads_everything_and_writes_only_where_it_may(place: Path) -> None:
    log, content = place / "log", place / "content"

    def work() -> None:
        assert "writing" in keep_only_reading([str(log), str(place / "missing")])
        assert (content / "file").read_text() == "old"
        writing: list[Callable[[], object]] = [
            lambda: (content / "file").write_text("new"),
            lambda: (content / "new").write_text("new"),
            (content / "file").unlink,
            lambda: (content / "new").symlink_to("file"),
            lambda: (content / "new").mkdir(),
            lambda: os.rename(content / "file", log / "file"),
            lambda: os.link(content / "file", log / "link"),
            lambda: os.mkfifo(log / "fifo"),
        ]
        assert [number for number, action in enumerate(writing) if not refused(action)] == []
        (log / "file").write_text("new")
        (log / "new").write_text("new")
        (log / "file").unlink()

    in_child(work)
    assert (content / "file").read_text() == "old"
    (content / "file").write_text("new")  # other processes are as before


def test_a_confined_process_runs_no_program(place: Path) -> None:
    def work() -> None:
        keep_only_reading([])
        assert refused(lambda: os.execv("/bin/true", ["true"]))

    in_child(work)


def test_a_confined_process_sends_no_signals_to_others(place: Path) -> None:
    if syscalls.landlock_version() < 6:
        pytest.skip("this kernel's Landlock does not restrict signals (Linux 6.12)")
    own = os.getpid()

    def work() -> None:
        keep_only_reading([])
        assert refused(lambda: os.kill(own, 0))
        os.kill(os.getpid(), signal.SIGCONT)

    in_child(work)


@pytest.mark.root
def test_of_the_powers_of_root_that_to_read_is_left(place: Path) -> None:
    private = place / "content" / "file"
    private.chmod(0o600)
    os.chown(private, 4321, 4321)

    def work() -> None:
        assert keep_only_reading([]) == "writing and the powers of root"
        assert syscalls.permitted_capabilities() == [DAC_READ_SEARCH]
        assert syscalls.bounding_set() == []
        assert private.read_text() == "old"
        assert refused(lambda: os.setuid(4321))

    in_child(work)


@pytest.mark.root
def test_without_landlock_the_powers_are_still_given_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(syscalls, "landlock_version", missing)

    def work() -> None:
        assert keep_only_reading([]) == "the powers of root"
        assert syscalls.permitted_capabilities() == [DAC_READ_SEARCH]
        assert keep_only_reading([]) == "nothing (the kernel has no Landlock)"

    in_child(work)
