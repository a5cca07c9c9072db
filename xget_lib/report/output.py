"""Lines on stdout and stderr, whatever the terminal's character set is and whatever names stand in them.

Each line is made printable here, once, so that nobody's file name or message can send control characters to a terminal.
A line that cannot be written never ends a run: the files matter more.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

from xget_lib.errors import printable
from xget_lib.process.null import open_null

_failure: OSError | None = None


def print_line(text: str) -> None:
    """Print a line on stdout. Nothing is printed any more once that has failed; see `failure`."""
    global _failure
    if _failure is None:
        try:
            _write(sys.stdout, text)
        except OSError as error:
            _failure = error
            discard(sys.stdout)


def print_error(text: str) -> None:
    """Print a line on stderr, if that is possible."""
    try:
        _write(sys.stderr, text)
    except OSError:
        discard(sys.stderr)


def failure() -> OSError | None:
    """Why stdout could not be written; None if it could, and where its reader has just gone away."""
    return None if isinstance(_failure, BrokenPipeError) else _failure


def is_lost() -> bool:
    """Whether nothing that is printed on stdout reaches anybody any more."""
    return _failure is not None


def clear_terminal() -> None:
    """Begin at the top of an empty screen, if stdout is a terminal."""
    if sys.stdout.isatty() and _failure is None:
        with suppress(OSError):
            sys.stdout.write("\x1b[H\x1b[2J")


def discard(stream: TextIO) -> None:
    """Write to nowhere from now on, so that the interpreter does not fail again when it flushes the stream at exit."""
    with suppress(OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = open_null()
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def accept_all_characters() -> None:
    """Escape the characters that the character sets of stdout and stderr lack, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _write(stream: TextIO, text: str) -> None:
    stream.write(printable(text) + "\n")
    stream.flush()
