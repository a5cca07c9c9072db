"""The page of a simulated swarm in a process of its own, so that what it costs can be measured by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def simulated(*options: str) -> Iterator[tuple[int, int]]:
    """Options of `test.page.simulated`. The process, and the port of its page."""
    command = [sys.executable, "-m", "test.page.simulated", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()
