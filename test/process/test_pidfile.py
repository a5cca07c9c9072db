"""The pid file: one live process has it, and its lock is what counts."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xget_lib.errors import Failed
from xget_lib.process.pidfile import Pidfile

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "xget.pid")


def test_a_pid_file_holds_the_pid_until_it_is_removed(path: str) -> None:
    Path(path).write_text("4194304 and more from a crash long ago\n")
    pidfile = Pidfile(path)
    assert Path(path).read_text() == f"{os.getpid()}\n"
    pidfile.remove()
    assert not Path(path).exists()


def test_a_pid_file_of_a_live_process_is_refused_with_its_pid(path: str) -> None:
    first = Pidfile(path)
    with pytest.raises(Failed, match=f"in use by process {os.getpid()}"):
        Pidfile(path)
    first.remove()
    Pidfile(path).remove()


def test_a_pid_file_of_a_killed_process_is_taken_over(path: str) -> None:
    code = (
        "import sys; from xget_lib.process.pidfile import Pidfile; p = Pidfile(sys.argv[1]); print(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", code, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(Failed, match=f"in use by process {holder.pid}"):
            Pidfile(path)
        holder.kill()
    Pidfile(path).remove()


def test_a_pid_file_that_is_removed_while_opened_is_made_again(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = [Pidfile(path)]
    real = fcntl.flock

    def flock_after_the_other_left(fd: int, operation: int) -> None:
        while other:
            other.pop().remove()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_the_other_left)
    ours = Pidfile(path)
    assert Path(path).read_text() == f"{os.getpid()}\n"
    ours.remove()


def test_removing_leaves_the_file_of_another_process(path: str) -> None:
    pidfile = Pidfile(path)
    os.unlink(path)
    Path(path).write_text("another\n")
    pidfile.remove()
    assert Path(path).read_text() == "another\n"


def test_a_pid_file_is_not_written_through_a_link(path: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    os.symlink(tmp_path / "victim", path)
    with pytest.raises(Failed, match="pid file"):
        Pidfile(path)
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize("spoil", ["link", "fifo", "owner"])
def test_a_pid_file_that_another_user_made_is_refused(path: str, tmp_path: Path, spoil: str) -> None:
    if spoil == "owner" and os.geteuid():
        pytest.skip("needs root")
    if spoil == "fifo":
        os.mkfifo(path)
    else:
        Path(path).touch()
    if spoil == "link":
        os.link(path, tmp_path / "another name")
    elif spoil == "owner":
        os.chown(path, 65534, -1)
    with pytest.raises(Failed, match=r"belongs to another user, or is not a regular file \(remove it\)"):
        Pidfile(path)


def test_nobody_else_can_lock_it_also_where_a_former_one_was_left_open_to_all(path: str) -> None:
    """Who can open it can lock it, and keeps the server from starting."""
    former = Path(path)
    former.write_text("4194304\n")
    former.chmod(0o644)
    with open(path) as stranger:
        fcntl.flock(stranger, fcntl.LOCK_EX)
        with pytest.raises(Failed, match="in use by process 4194304, or by another user, who could read it"):
            Pidfile(path)
        former.unlink()  # as the first text says
        pidfile = Pidfile(path)
    assert former.stat().st_mode & 0o777 == 0o600
    pidfile.remove()


def test_a_former_file_is_closed_to_others_when_it_is_taken_over(path: str) -> None:
    Path(path).touch(0o644)
    pidfile = Pidfile(path)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    pidfile.remove()
