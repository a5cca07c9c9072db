"""Runs the programs that make packages. What they print is shown only if they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PATIENCE = 900.0  # seconds; pip may have to download


class Refused(Exception):
    """Why no package can be made, in one line, or with what a program has printed before it."""


def require(program: str, package: str) -> None:
    """Raises Refused unless a program is installed. `package`: that of Debian which has it."""
    if shutil.which(program) is None:
        raise Refused(f"{program} is not installed (apt install {package})")


def run(command: Sequence[str | Path], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Returns what a program prints. Raises Refused if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode:
        raise Refused(f"{done.stdout.rstrip()}\n{' '.join(words)}: failed with status {done.returncode}")
    return done.stdout
