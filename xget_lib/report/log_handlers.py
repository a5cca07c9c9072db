"""Handlers of the log that need `logging.handlers`: a file that may be moved, and syslog.

`log` imports this module for the first line to syslog, or with --log: `logging.handlers` takes 3 ms of a start.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os

from xget_lib.report import log_formats
from xget_lib.report.log_formats import Printable

LOGGER = logging.getLogger("xget")


def syslog() -> logging.Handler | None:
    """A handler for syslog; None where there is none. Raises OSError."""
    if not os.path.exists(log_formats.SYSLOG_SOCKET):
        return None
    handler = logging.handlers.SysLogHandler(log_formats.SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.setFormatter(Printable(log_formats.SYSLOG_LINE))
    return handler


class LogFile(logging.handlers.WatchedFileHandler):
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
            handler = syslog()
            if handler is not None:
                with contextlib.closing(handler):
                    if self._lost == 1:
                        why = (self.baseFilename, getattr(error, "strerror", None) or error)
                        first = LOGGER.makeRecord(LOGGER.name, logging.WARNING, "", 0, "log file %s: %s", why, None)
                        handler.handle(first)
                    handler.handle(record)
