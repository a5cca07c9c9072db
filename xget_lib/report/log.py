"""Where a server's lines go: a file that can be rotated under it, syslog, or stderr.

The standard library's logging does the work; the whole program logs to the one logger `xget`.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
from typing import Any

LOGGER = logging.getLogger("xget")

_SYSLOG_SOCKET = "/dev/log"
_FORMAT = "%(asctime)s xget[%(process)d] %(levelname)s: %(message)s"


def to_file(path: str) -> None:
    """Log to a file, opened anew when it was moved away (logrotate). Raises OSError."""
    _use(logging.handlers.WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace"), _FORMAT)


def to_stderr() -> None:
    _use(logging.StreamHandler(sys.stderr), _FORMAT)


def to_syslog() -> None:
    """Log to this machine's syslog; where there is none, nowhere."""
    if os.path.exists(_SYSLOG_SOCKET):
        handler = logging.handlers.SysLogHandler(_SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_DAEMON)
        _use(handler, "xget[%(process)d]: %(levelname)s: %(message)s")
    else:
        _use(logging.NullHandler(), _FORMAT)


def set_level(debug: int, verbose: bool, quiet: bool) -> None:
    """What is logged: with debug everything, quiet warnings and up, else what an administrator wants to know."""
    LOGGER.setLevel(logging.DEBUG if debug or verbose else logging.WARNING if quiet else logging.INFO)


def _use(handler: logging.Handler, form: str) -> None:
    handler.setFormatter(logging.Formatter(form))
    for former in LOGGER.handlers[:]:
        LOGGER.removeHandler(former)
        former.close()
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    # A log that cannot be written must not stop the transfer, nor print tracebacks.
    logging.raiseExceptions = False


class LogStream(io.RawIOBase):
    """A stream whose lines go into the log as errors: where gevent prints what its greenlets die of."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        for line in bytes(data).decode(errors="replace").splitlines():
            if line.strip():
                LOGGER.error("%s", line)
        return len(data)
