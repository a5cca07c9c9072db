from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from xget_lib.report import log_formats, log_handlers
from xget_lib.report.log_handlers import LogFile


def test_without_its_socket_there_is_no_syslog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path / "none"))
    assert log_handlers.syslog() is None


def test_syslog_gets_lines_without_control_characters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path / "syslog"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "syslog"))
        daemon.settimeout(10)
        handler = log_handlers.syslog()
        assert handler is not None
        handler.handle(logging.LogRecord("xget", logging.INFO, "", 0, "a\tline", None, None))
        handler.close()
        assert daemon.recv(1000).endswith(rb"xget[%d]: INFO: a\tline" % os.getpid() + b"\0")


def test_a_file_that_is_moved_is_opened_again(tmp_path: Path) -> None:
    handler = LogFile(str(tmp_path / "log"))
    for message in ("before", "after"):
        handler.handle(logging.LogRecord("xget", logging.INFO, "", 0, message, None, None))
        if message == "before":
            (tmp_path / "log").rename(tmp_path / "log.1")
    handler.close()
    assert [(tmp_path / name).read_text() for name in ("log.1", "log")] == ["before\n", "after\n"]
