"""The log of a process: a file, syslog or stderr. All of the program logs to the one logger `xget`."""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
import os
import sys
from typing import Any

from xget_lib.config import TRACE
from xget_lib.errors import Failed, XGetError, printable
from xget_lib.report.log_formats import JOURNAL, JSON, PLAIN, Journal, JsonLine

LOGGER = logging.getLogger("xget")
logging.addLevelName(TRACE, "TRACE")

_SYSLOG_SOCKET = "/dev/log"
_FORMAT = "%(asctime)s xget[%(process)d] %(levelname)s: %(message)s"
_SYSLOG_FORMAT = "xget[%(process)d]: %(levelname)s: %(message)s"


def start(path: str | None, *, background: bool, level: int, form: str = PLAIN) -> None:
    """Log to the file `path`; without one, to syslog in the background, otherwise to stderr; or to the journal.

    `level` is one of logging's, `form` one of those of `--log-format`. Raises Failed if the file cannot be opened, or
    there is no journal.
    """
    LOGGER.setLevel(level)
    if form == JOURNAL:
        _use(Journal(), form, "")
    elif path:
        _use(_file(path), form, _FORMAT)
    elif not background:
        _use(logging.StreamHandler(sys.stderr), form, _FORMAT)
    else:
        with contextlib.suppress(OSError):  # nobody reads from it
            _use(_syslog() or logging.NullHandler(), form, _SYSLOG_FORMAT)
            return
        _use(logging.NullHandler(), form, _FORMAT)


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
        _use(logging.NullHandler(), form, _FORMAT)


def place(path: str | None, form: str) -> str:
    """Where the log of a process in the background is, for people."""
    if form == JOURNAL:
        return "the journal"
    return path or ("syslog" if os.path.exists(_SYSLOG_SOCKET) else "")


def give_to(uid: int) -> None:
    """Make the log file another user's, so that a process which becomes that user can open it again. Raises OSError."""
    for handler in LOGGER.handlers:
        if isinstance(handler, _LogFile) and handler.stream is not None:
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
    try:
        return _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Failed(f"log file {path}", error.strerror or str(error)) from None


class _LogFile(logging.handlers.WatchedFileHandler):
    """A log file that may vanish with its directory, as in an initramfs after switch_root.

    Then lines go to syslog, if there is one, until the file can be opened again. Never raises.
    """

    _lost = 0
    """Lines since the file could be opened last."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.reopenIfNeeded()
            if self.stream is None:
                self.stream = self._open()
        except (OSError, ValueError) as error:
            self._instead(record, error)
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            again = "the log file could not be opened for a time; %d lines are in syslog, if there is one"
            super().emit(LOGGER.makeRecord(LOGGER.name, logging.WARNING, "", 0, again, (lost,), None))
        super().emit(record)

    def _instead(self, record: logging.LogRecord, error: Exception) -> None:
        self._lost += 1
        with contextlib.suppress(OSError):
            handler = _syslog()
            if handler is not None:
                with contextlib.closing(handler):
                    if self._lost == 1:
                        why = (self.baseFilename, getattr(error, "strerror", None) or error)
                        first = LOGGER.makeRecord(LOGGER.name, logging.WARNING, "", 0, "log file %s: %s", why, None)
                        handler.handle(first)
                    handler.handle(record)


def _syslog() -> logging.Handler | None:
    """A handler for syslog; None where there is none. Raises OSError."""
    if not os.path.exists(_SYSLOG_SOCKET):
        return None
    handler = logging.handlers.SysLogHandler(_SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.setFormatter(_Printable(_SYSLOG_FORMAT))
    return handler


class _Printable(logging.Formatter):
    """Escapes control characters, which other machines may send; the lines of a traceback stay lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # of logging
        """A message is one line."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def _use(handler: logging.Handler, form: str, plain: str) -> None:
    """Log with this handler alone. `plain`: the format of lines that are not JSON."""
    handler.setFormatter(JsonLine() if form == JSON else _Printable(plain or None))
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
