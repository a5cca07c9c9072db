"""What a forked process keeps of its parent, and that it ends with it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from test.support.mounted import NO_PROC
from test.support.processes import PATIENCE
from xget_lib.process.fork import flush, signals_held

ROOT = Path(__file__).parent.parent.parent


def run(case: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    """Run a case of the program until no process holds its standard output any more. `prefix`: words before it."""
    command = [*prefix, sys.executable, "-m", "test.process.fork_program", case]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


def test_only_the_standard_descriptors_and_those_named_stay_open() -> None:
    facts = json.loads(run("descriptors").stdout)
    assert facts["open"] == sorted([0, 1, 2, facts["kept"]])


@pytest.mark.root
def test_without_proc_too_only_the_standard_descriptors_and_those_named_stay_open() -> None:
    facts = json.loads(run("descriptors_without_proc", *NO_PROC).stdout)
    assert facts == {"kept": facts["kept"], "open": sorted([0, 1, 2, facts["kept"]]), "proc": False}


def test_every_signal_has_its_default_action_but_those_that_stay_ignored() -> None:
    facts = json.loads(run("default_signals").stdout)
    assert facts == {
        "ignored": sorted([signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ]),
        "handled": [],
        "blocked": [],
        "wakeup": -1,
    }


def test_a_signal_during_the_fork_acts_on_the_child_and_not_on_its_parents_handler() -> None:
    assert run("signal_during_fork").stdout == f"{-signal.SIGTERM}\n"


def test_signals_are_blocked_until_the_end_and_then_handled() -> None:
    handled: list[int] = []
    former = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with signals_held():
            signal.raise_signal(signal.SIGUSR1)  # to this thread: others in the process of a test do not block it
            assert not handled
        assert handled == [signal.SIGUSR1]
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    finally:
        signal.signal(signal.SIGUSR1, former)


def test_a_child_that_hangs_ends_with_its_parent() -> None:
    ended = run("hanging_child")
    assert (ended.returncode, ended.stdout) == (0, "started\n")


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    ended = run("orphan")
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "")


def test_a_process_can_decide_to_outlive_its_parent() -> None:
    assert run("outliving_child").stdout == "alive\n"


def test_what_python_buffers_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(written)))
    monkeypatch.setattr(sys, "stderr", None)  # as in a process that was started without one
    sys.stdout.write("buffered")
    assert written.getvalue() == b""
    flush()
    assert written.getvalue() == b"buffered"
