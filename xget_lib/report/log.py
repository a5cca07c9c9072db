"""The log of a process: a file, syslog or stderr. All of the program logs to the one logger `xget`."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from typing import Any

from xget_lib.config import TRACE
from xget_lib.errors import Failed, XGetError
from xget_lib.report import log_formats
from xget_lib.report.log_formats import JOURNAL, JSON, LINE, PLAIN, SYSLOG_LINE, Journal, JsonLine, Printable

LOGGER = logging.getLogger("xget")
logging.addLevelName(TRACE, "TRACE")


def start(path: str | None, *, background: bool, level: int, form: str = PLAIN) -> None:
    """Log to the file `path`; without one, to syslog in the background, otherwise to stderr; or to the journal.

    `level` is one of logging's, `form` one of those of `--log-format`. Raises Failed if the file cannot be opened, or
    there is no journal.
    """
    LOGGER.setLevel(level)
    if form == JOURNAL:
        _use(Journal(), form, "")
    elif path:
        _use(_file(path), form, LINE)
    elif not background:
        _use(logging.StreamHandler(sys.stderr), form, LINE)
    else:
        _use(_Syslog(), form, SYSLOG_LINE)


def restart_after_fork(path: str | None, *, background: bool, level: int, form: str = PLAIN) -> None:
    """As `start`, in a forked process that has closed all descriptors of its parent.

    The parent's handlers are kept open: their descriptor numbers may belong to a connection now. If the file cannot be
    opened, this process does not log.
    """
    _inherited.extend(LOGGER.handlers)
    LOGGER.handlers.clear()
    try:
        start(path, background=background, level=level, form=form)
    except Failed:
        _use(logging.NullHandler(), form, LINE)


def load_handlers() -> None:
    """Import what later lines need. To be called before this process gives up powers: it may not read it afterwards."""
    from xget_lib.report import log_handlers

    assert log_handlers


def place(path: str | None, form: str) -> str:
    """Where the log of a process in the background is, for people."""
    if form == JOURNAL:
        return "the journal"
    return path or ("syslog" if os.path.exists(log_formats.SYSLOG_SOCKET) else "")


def give_to(uid: int) -> None:
    """Make the log file another user's, so that a process which becomes that user can open it again. Raises OSError."""
    for handler in LOGGER.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            os.fchown(handler.stream.fileno(), uid, -1)


_inherited: list[logging.Handler] = []
"""Handlers of the parent process; referenced here so that they are never closed."""


def check(path: str | None, form: str = PLAIN) -> None:
    """Raise Failed if `start` would."""
    if form == JOURNAL:
        Journal().close()
    elif path:
        _file(path).close()


def level(*, debug: int, verbose: bool, quiet: bool) -> int:
    """The level for `start`: TRACE with -D 2, DEBUG with -D 1 or -v, WARNING with -q, otherwise INFO."""
    if debug > 1:
        return TRACE
    return logging.DEBUG if debug or verbose else logging.WARNING if quiet else logging.INFO


def _file(path: str) -> logging.Handler:
    """A handler that opens the file again after logrotate has moved it."""
    from xget_lib.report.log_handlers import LogFile

    try:
        return LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Failed(f"log file {path}", error.strerror or str(error)) from None


class _Syslog(logging.Handler):
    """Opens syslog for the first line, if there is one: a client has none before its files are in place."""

    _opened: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self._opened is None:
            from xget_lib.report.log_handlers import syslog

            with contextlib.suppress(OSError):  # nobody reads from it
                self._opened = syslog()
            self._opened = self._opened or logging.NullHandler()
            self._opened.setFormatter(self.formatter)
        self._opened.handle(record)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        super().close()


def _use(handler: logging.Handler, form: str, plain: str) -> None:
    """Log with this handler alone. `plain`: the format of lines that are not JSON."""
    handler.setFormatter(JsonLine() if form == JSON else Printable(plain or None))
    for former in LOGGER.handlers[:]:
        LOGGER.removeHandler(former)
        with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
            former.close()
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    # If the log cannot be written, the server continues and prints no tracebacks.
    logging.raiseExceptions = False


def catch_greenlets() -> None:
    """Log the tracebacks of greenlets instead of printing them: a background process has no stderr.

    An XGetError is no bug, and has no traceback: whoever waits for the greenlet gets it.
    """
    from gevent import get_hub

    hub = get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, XGetError)
    hub.exception_stream = io.TextIOWrapper(io.BufferedWriter(LogStream()), line_buffering=True)


class LogStream(io.RawIOBase):
    """A stream that logs each line as an error. gevent prints the tracebacks of greenlets into it."""

    def __init__(self) -> None:
        super().__init__()
        self._incomplete = b""  # the last line, without its end

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        *lines, self._incomplete = (self._incomplete + bytes(data)).split(b"\n")
        for line in lines:
            if line.strip():
                LOGGER.error("%s", line.decode(errors="replace"))
        return len(data)
