"""Forms of the log for programs: an object of JSON in each line, or entries of systemd's journal with fields.

What a line is about stands in fields (`about`): a node by its name, address and port, and a generation. In the plain
form the text alone says it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from xget_lib.errors import Failed, printable

PLAIN, JSON, JOURNAL = "plain", "json", "journal"
JOURNAL_SOCKET = "/run/systemd/journal/socket"
SYSLOG_SOCKET = "/dev/log"

LINE = "%(asctime)s xget[%(process)d] %(levelname)s: %(message)s"
SYSLOG_LINE = "xget[%(process)d]: %(levelname)s: %(message)s"
_VALUE = 16 * 1024
"""Bytes of a value, at most: an entry has to fit into a datagram."""
_PRIORITY = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Levels as the journal counts them (syslog(3)); 7 below."""


def about(**fields: object) -> Mapping[str, Any]:
    """The argument `extra` of a log call: what it is about. Empty fields are left out."""
    return {"fields": {name: value for name, value in fields.items() if value not in ("", None)}}


class Printable(logging.Formatter):
    """Escapes control characters, which other machines may send; the lines of a traceback stay lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # of logging
        """A message is one line."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


class JsonLine(logging.Formatter):
    """A line is an object: `time`, `level`, `pid`, `message`, the fields, and `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        line = {"time": f"{at}.{milliseconds:03}Z", "level": record.levelname.lower(), "pid": record.process}
        line["message"] = printable(record.getMessage())
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Journal(logging.Handler):
    """Writes to journald in its native protocol (systemd's document JOURNAL_NATIVE_PROTOCOL). It never waits: what
    journald does not take at once is lost, and the next entry says how much that was."""

    def __init__(self) -> None:
        """Raises Failed if there is no journal."""
        super().__init__()
        if not os.path.exists(JOURNAL_SOCKET):
            raise Failed("--log-format journal", f"there is no {JOURNAL_SOCKET}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.sendto(entry(record, self._lost), JOURNAL_SOCKET)
            self._lost = 0
        except OSError:
            self._lost += 1
        except Exception:
            self.handleError(record)  # as logging's own handlers do

    def close(self) -> None:
        self._socket.close()
        super().close()


def entry(record: logging.LogRecord, lost: int = 0) -> bytes:
    """A record as the journal takes it. `lost`: entries before it that are not there."""
    message = printable(record.getMessage())
    if record.exc_info:
        message += "\n" + logging.Formatter().formatException(record.exc_info)
    fields: dict[str, object] = {
        "MESSAGE": message,
        "PRIORITY": next((priority for level, priority in _PRIORITY if record.levelno >= level), 7),
        "SYSLOG_IDENTIFIER": "xget",
    }
    fields |= {f"XGET_{name.upper()}": value for name, value in getattr(record, "fields", {}).items()}
    if lost:
        fields["XGET_LOST_ENTRIES"] = lost
    return b"".join(
        _field(name, str(value).encode(errors="backslashreplace")[:_VALUE]) for name, value in fields.items()
    )


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
