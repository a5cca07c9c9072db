"""Going to the background, seen from the shell that started it."""

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


def background(cleanup: ExitStack, directory: Path, **options: Any) -> tuple[dict[str, Any], Watched]:
    """Starts a daemon: what it says of itself, and its process."""
    fifo = directory / "facts"
    os.mkfifo(fifo)
    ended = run("background", str(fifo), **options)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    facts: dict[str, Any] = json.loads(fifo.read_text())
    daemon = Watched(facts["pid"])
    cleanup.callback(daemon.dispose)
    return facts, daemon


def test_a_daemon_has_its_own_session_no_terminal_and_no_directory(cleanup: ExitStack, tmp_path: Path) -> None:
    facts, daemon = background(cleanup, tmp_path, umask=0o027)
    assert daemon.lives()
    assert facts["still"] == facts["session"] == facts["pid"]
    assert facts["directory"] == "/"
    assert facts["umask"] == 0o027
    assert facts["standard"] == ["/dev/null"] * 3


def test_a_daemon_keeps_no_descriptor_that_its_caller_had_open(cleanup: ExitStack, tmp_path: Path) -> None:
    stray, strays = os.pipe()
    cleanup.callback(os.close, stray)
    _, daemon = background(cleanup, tmp_path, pass_fds=[strays])
    os.close(strays)
    assert line_from(stray) == ""  # the end of the file: no process has the other end
    assert daemon.lives()


def test_a_failure_is_one_line_and_its_status() -> None:
    ended = run("refused")
    assert (ended.returncode, ended.stdout, ended.stderr) == (6, "tried\n", "xget: /dest: no space\n")


def test_a_line_that_is_too_long_is_cut_and_the_status_still_right() -> None:
    ended = run("long_refused")
    assert ended.returncode == 6
    assert 80 < len(ended.stderr) < 4096
    assert set(ended.stderr) == {"x", "\n"}


def test_a_failed_child_has_ended_when_the_foreground_process_has(cleanup: ExitStack) -> None:
    """Else the next run would find this one still at work in its destination."""
    process, child = begin(cleanup, "slow_end")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    assert process.stdin
    process.stdin.close()
    assert process.wait(PATIENCE) == 3
    assert not child.lives()


@pytest.mark.parametrize(("how", "words"), [("killed", "killed by SIGKILL"), ("silent", "exit status 4")])
def test_a_child_that_dies_without_a_report_is_a_failure(how: str, words: str) -> None:
    ended = run(how)
    assert (ended.returncode, ended.stderr) == (1, f"xget: server process died: {words}\n")


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
