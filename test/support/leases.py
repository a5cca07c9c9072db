"""Another program that has a write lease on a file (fcntl(2), F_SETLEASE), as Samba does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import fcntl, os, signal, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
if sys.argv[2] == "True":
    signal.sigwait({signal.SIGIO})  # the kernel asks
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
sys.stdin.read()
"""


@contextmanager
def leased(path: Path, *, gives_up: bool) -> Iterator[None]:
    """Inside the `with` the file has a lease. `gives_up`: until somebody else opens it."""
    command = [sys.executable, "-c", _PROGRAM, str(path), str(gives_up)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None and program.stdout is not None
        try:
            assert program.stdout.readline() == "leased\n"
            yield
        finally:
            program.stdin.close()
