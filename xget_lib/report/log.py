"""Where a server's lines go: a file that can be rotated under it, syslog, or stderr.

The standard library's logging does the work; the whole program logs to the one logger `xget`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
import os
import sys
from typing import Any

from xget_lib.config import TRACE
from xget_lib.errors import Failed

LOGGER = logging.getLogger("xget")
logging.addLevelName(TRACE, "TRACE")

_SYSLOG_SOCKET = "/dev/log"
_FORMAT = "%(asctime)s xget[%(process)d] %(levelname)s: %(message)s"


def start(path: str | None, *, background: bool, level: int) -> None:
    """Log to a file, or syslog from the background, or else stderr. Raises Failed for a file that cannot be opened."""
    LOGGER.setLevel(level)
    if path:
        _use(_file(path), _FORMAT)
    elif not background:
        _use(logging.StreamHandler(sys.stderr), _FORMAT)
    elif os.path.exists(_SYSLOG_SOCKET):
        handler = logging.handlers.SysLogHandler(_SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_DAEMON)
        _use(handler, "xget[%(process)d]: %(levelname)s: %(message)s")
    else:
        _use(logging.NullHandler(), _FORMAT)


def start_anew(path: str | None, *, background: bool, level: int) -> None:
    """As `start`, in a process that was forked from one that logs, and has closed every descriptor of it.

    What logged there is left as it is, and never closed: its descriptor's number may mean a client's connection now.
    A file that cannot be opened here costs this process's lines, and nothing else.
    """
    _left.extend(LOGGER.handlers)
    LOGGER.handlers.clear()
    try:
        start(path, background=background, level=level)
    except Failed:
        _use(logging.NullHandler(), _FORMAT)


_left: list[logging.Handler] = []


def check(path: str | None) -> None:
    """Raise Failed where `start` would."""
    if path:
        _file(path).close()


def level(*, debug: int, verbose: bool, quiet: bool) -> int:
    """The level for `start`: TRACE with -D 2, DEBUG with -D 1 or -v, WARNING with -q, otherwise INFO."""
    if debug > 1:
        return TRACE
    return logging.DEBUG if debug or verbose else logging.WARNING if quiet else logging.INFO


def _file(path: str) -> logging.Handler:
    """Opened anew when it was moved away (logrotate)."""
    try:
        return logging.handlers.WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Failed(f"log file {path}", error.strerror or str(error)) from None


def _use(handler: logging.Handler, form: str) -> None:
    handler.setFormatter(logging.Formatter(form))
    for former in LOGGER.handlers[:]:
        LOGGER.removeHandler(former)
        with contextlib.suppress(OSError):  # its disk is full
            former.close()
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    # A log that cannot be written must not stop the transfer, nor print tracebacks.
    logging.raiseExceptions = False


def catch_greenlets() -> None:
    """From now on what greenlets of this process die of goes into the log, and not to a stderr that may be nobody's."""
    from gevent import get_hub

    get_hub().exception_stream = io.TextIOWrapper(io.BufferedWriter(LogStream()), line_buffering=True)


class LogStream(io.RawIOBase):
    """A stream whose lines go into the log as errors: where gevent prints what its greenlets die of."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = b""  # a line whose end has not come yet

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        *lines, self._begun = (self._begun + bytes(data)).split(b"\n")
        for line in lines:
            if line.strip():
                LOGGER.error("%s", line.decode(errors="replace"))
        return len(data)
