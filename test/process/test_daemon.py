"""Going to the background, seen from the shell that started it; and the pid file."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from test.support.processes import PATIENCE, Watched, line_from
from xget_lib.errors import Failed
from xget_lib.process.daemon import Pidfile

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs it as a shell does in $(...): until nobody holds its standard output any more."""
    command = [sys.executable, "-m", "test.process.daemon_program", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, **options)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def begin(cleanup: ExitStack, *arguments: str, **options: Any) -> tuple[subprocess.Popen[bytes], Watched]:
    """Starts a program that says its number first; gives the foreground process and the child."""
    command = [sys.executable, "-m", "test.process.daemon_program", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
    process = cleanup.enter_context(subprocess.Popen(command, cwd=ROOT, **pipes))
    cleanup.callback(process.kill)
    assert process.stdout
    child = Watched(int(line_from(process.stdout.fileno())))
    cleanup.callback(child.dispose)
    return process, child


def test_a_daemon_has_its_own_session_no_terminal_and_no_directory(cleanup: ExitStack) -> None:
    read_end, write_end = os.pipe()
    cleanup.callback(os.close, read_end)
    ended = run("background", str(write_end), pass_fds=[write_end], umask=0o027)
    os.close(write_end)
    facts = json.loads(line_from(read_end))
    daemon = Watched(facts["pid"])
    cleanup.callback(daemon.dispose)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert daemon.lives()
    assert facts["still"] == facts["session"] == facts["pid"]
    assert facts["directory"] == "/"
    assert facts["umask"] == 0o027
    assert facts["standard"] == ["/dev/null"] * 3


def test_a_daemon_keeps_no_descriptor_that_its_caller_had_open(cleanup: ExitStack) -> None:
    told, tell = os.pipe()
    stray, strays = os.pipe()
    cleanup.callback(os.close, told)
    cleanup.callback(os.close, stray)
    run("background", str(tell), pass_fds=[tell, strays])
    os.close(tell)
    os.close(strays)
    daemon = Watched(json.loads(line_from(told))["pid"])
    cleanup.callback(daemon.dispose)
    assert line_from(stray) == ""  # the end of the file: nobody has the other end
    assert daemon.lives()


def test_errors_of_a_daemon_can_go_to_a_log(tmp_path: Path) -> None:
    with open(tmp_path / "log", "ab") as log:
        assert run("logged", str(log.fileno()), pass_fds=[log.fileno()]).returncode == 0
    assert (tmp_path / "log").read_text() == "for the log\n"


def test_a_failure_is_one_line_and_its_status() -> None:
    ended = run("refused")
    assert (ended.returncode, ended.stdout, ended.stderr) == (6, "tried\n", "xget: /dest: no space\n")


def test_a_line_that_is_too_long_is_cut_and_the_status_still_right() -> None:
    ended = run("long_refused")
    assert ended.returncode == 6
    assert 80 < len(ended.stderr) < 4096
    assert set(ended.stderr) == {"x", "\n"}


def test_a_run_that_goes_on_with_nothing_is_done() -> None:
    ended = run("done")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_failed_child_has_ended_when_the_foreground_process_has(cleanup: ExitStack) -> None:
    """Or the next run would find this one still in its destination."""
    process, child = begin(cleanup, "slow_end")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    assert process.stdin
    process.stdin.close()
    assert process.wait(PATIENCE) == 3
    assert not child.lives()


@pytest.mark.parametrize(("how", "words"), [("killed", "killed by SIGKILL"), ("silent", "exit status 4")])
def test_a_child_that_dies_without_a_word_is_a_failure_that_is_told(how: str, words: str) -> None:
    ended = run(how)
    assert (ended.returncode, ended.stderr) == (1, f"xget: ended without a word: {words}\n")


def test_signals_for_the_foreground_process_reach_the_child(cleanup: ExitStack) -> None:
    process, _ = begin(cleanup, "signalled")
    assert process.stdout
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)
        assert line_from(process.stdout.fileno()) == number.name
    assert process.wait(PATIENCE) == 143


def test_an_interrupt_from_the_terminal_reaches_the_child_once(cleanup: ExitStack) -> None:
    terminal, slave = pty.openpty()
    cleanup.callback(os.close, terminal)

    def take_terminal() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process, _ = begin(cleanup, "signalled", stdin=slave, start_new_session=True, preexec_fn=take_terminal)
    os.close(slave)
    assert process.stdout
    os.write(terminal, b"\x03")
    assert line_from(process.stdout.fileno()) == "SIGINT"
    process.send_signal(signal.SIGTERM)
    assert line_from(process.stdout.fileno()) == "SIGTERM"
    assert process.wait(PATIENCE) == 143


def test_a_foreground_process_can_be_stopped_and_continued(cleanup: ExitStack) -> None:
    process, _ = begin(cleanup, "signalled", process_group=0)
    process.send_signal(signal.SIGTSTP)
    process.send_signal(signal.SIGTERM)  # acted on once it runs again
    state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert state is not None
    assert state.si_code == os.CLD_STOPPED
    process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE) == 143


def test_a_foreground_process_that_is_killed_takes_its_child_along(cleanup: ExitStack) -> None:
    process, child = begin(cleanup, "signalled")
    assert process.stdout
    process.kill()
    assert line_from(process.stdout.fileno()) == "SIGTERM"
    assert child.ends()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "xget.pid")


def test_a_pid_file_holds_our_number_until_it_is_removed(path: str) -> None:
    Path(path).write_text("4194304 and more from a crash long ago\n")
    pidfile = Pidfile(path)
    assert Path(path).read_text() == f"{os.getpid()}\n"
    pidfile.remove()
    assert not Path(path).exists()


def test_a_pid_file_of_a_live_process_is_refused_with_its_number(path: str) -> None:
    first = Pidfile(path)
    with pytest.raises(Failed, match=f"process {os.getpid()} runs already"):
        Pidfile(path)
    first.remove()
    Pidfile(path).remove()


def test_a_pid_file_of_a_killed_process_is_taken_over(path: str) -> None:
    code = (
        "import sys; from xget_lib.process.daemon import Pidfile; p = Pidfile(sys.argv[1]); print(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", code, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(Failed, match=f"process {holder.pid} runs already"):
            Pidfile(path)
        holder.kill()
    Pidfile(path).remove()


def test_a_pid_file_that_is_removed_while_we_open_it_is_made_again(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_removing_leaves_a_file_that_is_not_ours(path: str) -> None:
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
