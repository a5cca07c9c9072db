"""A signal in the midst of a trial: the command ends, and what it has made is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from test.support.cluster import ROOT
from test.support.processes import PATIENCE

PROGRAM = """
import sys, threading
from xget_lib import cli
from xget_lib.doctor import specimen

def hangs(dest, **options):
    open(dest + b"/file", "w").close()
    print("trying", flush=True)
    threading.Event().wait()

specimen.try_out = hangs
sys.exit(cli.main(["doctor", "-q", "--config=", "--role=client", sys.argv[1]]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_trial_that_hangs_and_nothing_stays(tmp_path: Path, number: signal.Signals) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    before = dest.stat().st_mtime_ns
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(dest)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "trying\n"
        assert os.listdir(dest / ".xget") == [f"doctor-{process.pid}"]
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output, errors) == (128 + number, "", "")
    assert os.listdir(dest) == []
    assert dest.stat().st_mtime_ns == before
