"""The log for programs: lines of JSON, and entries of the journal, as a real socket gets them."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from xget_lib.errors import Failed
from xget_lib.report import log_formats
from xget_lib.report.log_formats import Journal, JsonLine, about


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of the journal's socket."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(10)
        monkeypatch.setattr(log_formats, "JOURNAL_SOCKET", str(path))
        yield listening


@pytest.fixture
def logger(journald: socket.socket) -> Iterator[logging.Logger]:
    logger, handler = logging.Logger("test"), Journal()
    logger.addHandler(handler)
    yield logger
    handler.close()


def fields(entry: bytes) -> dict[str, str]:
    """An entry, taken apart as journald does."""
    found = {}
    while entry:
        line, entry = entry.split(b"\n", 1)
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", entry)
            value, entry = entry[8 : 8 + length], entry[8 + length + 1 :]
        found[name.decode()] = value.decode()
    return found


def test_a_line_of_json_has_what_a_program_asks_for() -> None:
    record = logging.LogRecord("xget", logging.WARNING, "", 0, "node %s\x1b lags", ("node07",), None)
    record.fields = about(node="node07", port=40000, generation="")["fields"]
    line = json.loads(JsonLine().format(record))
    assert datetime.fromisoformat(line.pop("time")) == datetime.fromtimestamp(int(record.created * 1000) / 1000, UTC)
    expected = {"level": "warning", "pid": os.getpid(), "message": "node node07\\x1b lags"}
    assert line == expected | {"node": "node07", "port": 40000}


def test_a_traceback_stays_in_its_line() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        record = logging.LogRecord("xget", logging.ERROR, "", 0, "internal error", (), sys.exc_info())
    text = JsonLine().format(record)
    assert "\n" not in text and "ValueError: x" in json.loads(text)["traceback"]


def test_an_entry_of_the_journal_has_fields(logger: logging.Logger, journald: socket.socket) -> None:
    logger.warning("%s lags", "node07", extra=about(node="node07", generation="ab"))
    assert fields(journald.recv(65536)) == {
        "MESSAGE": "node07 lags",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "xget",
        "XGET_NODE": "node07",
        "XGET_GENERATION": "ab",
    }


@pytest.mark.parametrize(("level", "priority"), [(5, "7"), (10, "7"), (20, "6"), (30, "4"), (40, "3"), (50, "3")])
def test_levels_are_those_of_syslog(logger: logging.Logger, journald: socket.socket, level: int, priority: str) -> None:
    logger.log(level, "x")
    assert fields(journald.recv(65536))["PRIORITY"] == priority


def test_a_text_of_a_stranger_makes_no_fields(logger: logging.Logger, journald: socket.socket) -> None:
    logger.warning("a\nPRIORITY=0\nb", extra=about(node="x\n_UID=0\n\udc80"))
    found = fields(journald.recv(65536))
    assert (found["PRIORITY"], found["XGET_NODE"]) == ("4", "x\n_UID=0\n\\udc80")
    assert "_UID" not in found


def test_a_traceback_is_part_of_the_message(logger: logging.Logger, journald: socket.socket) -> None:
    try:
        raise ValueError("x")
    except ValueError:
        logger.exception("internal error")
    message = fields(journald.recv(65536))["MESSAGE"]
    assert message.startswith("internal error\nTraceback") and message.endswith("ValueError: x")


def test_a_journal_that_takes_nothing_costs_lines_and_no_time(logger: logging.Logger, journald: socket.socket) -> None:
    for number in range(20_000):
        logger.info("%d", number)
    journald.setblocking(False)
    with pytest.raises(BlockingIOError):
        while journald.recv(65536):
            pass
    logger.info("again")
    assert int(fields(journald.recv(65536))["XGET_LOST_ENTRIES"]) > 0
    logger.info("well")
    assert "XGET_LOST_ENTRIES" not in fields(journald.recv(65536))


def test_a_long_text_fits(logger: logging.Logger, journald: socket.socket) -> None:
    logger.warning("x" * 1_000_000)
    assert len(journald.recv(65536)) > 10_000


def test_without_a_journal_there_is_no_such_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_formats, "JOURNAL_SOCKET", str(tmp_path / "none"))
    with pytest.raises(Failed, match="--log-format journal: there is no"):
        Journal()
