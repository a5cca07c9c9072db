"""The log: where messages go, which of them, and that no problem with it stops a server."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xget_lib.config import TRACE
from xget_lib.errors import Failed
from xget_lib.report import log, log_formats
from xget_lib.report.log import LOGGER, LogStream
from xget_lib.report.log_formats import about

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, level, propagate, raises = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate, logging.raiseExceptions
    yield
    for handler in LOGGER.handlers:
        if handler not in handlers:
            with contextlib.suppress(OSError):  # /dev/full
                handler.close()
    LOGGER.handlers[:], LOGGER.propagate, logging.raiseExceptions = handlers, propagate, raises
    LOGGER.setLevel(level)


def to_file(path: Path, level: int = logging.INFO) -> None:
    log.start(str(path), background=False, level=level)


def test_a_line_has_a_time_a_process_and_a_level(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    LOGGER.info("served %d", 7)
    time, _, rest = (tmp_path / "log").read_text().partition(" xget[")
    assert len(time) == len("2026-01-01 00:00:00,000")
    assert rest == f"{os.getpid()}] INFO: served 7\n"


def test_a_line_may_be_json(tmp_path: Path) -> None:
    log.start(str(tmp_path / "log"), background=False, level=logging.INFO, form="json")
    LOGGER.info("served %d", 7, extra=about(node="node07"))
    line = json.loads((tmp_path / "log").read_text())
    assert (line["message"], line["node"], line["level"]) == ("served 7", "node07", "info")


def test_a_process_says_where_its_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log.place("/var/log/xget", "plain") == "/var/log/xget"
    assert log.place(None, "journal") == "the journal"
    monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path))
    assert log.place(None, "json") == "syslog"
    monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path / "none"))
    assert log.place(None, "plain") == ""


def test_the_file_is_opened_again_after_it_was_renamed(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    LOGGER.info("one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    LOGGER.info("two")
    assert [(tmp_path / name).read_text().count("\n") for name in ("log.1", "log")] == [1, 1]


def test_a_forked_process_never_writes_to_the_descriptor_of_its_parents_log(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    (handler,) = LOGGER.handlers
    assert isinstance(handler, logging.StreamHandler)
    number = handler.stream.fileno()
    reading, writing = os.pipe2(os.O_NONBLOCK)
    os.dup2(writing, number)  # as if it was closed and reused by a connection
    log.restart_after_fork(str(tmp_path / "log"), background=False, level=logging.INFO)
    LOGGER.info("here")
    assert (tmp_path / "log").read_text().endswith("INFO: here\n")
    os.fstat(number)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    log.restart_after_fork("/nowhere/log", background=False, level=logging.INFO)
    LOGGER.info("nowhere")
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_text_that_is_not_utf8_is_escaped(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    LOGGER.info("\udcff")
    assert "\\udcff" in (tmp_path / "log").read_text()


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "no" / "log", "No such file or directory")):
        for attempt in (log.check, lambda name: log.start(name, background=True, level=logging.INFO)):
            with pytest.raises(Failed) as caught:
                attempt(str(path))
            assert str(caught.value) == f"log file {path}: {why}"
    log.check(None)


def test_a_full_disk_neither_raises_nor_prints(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("/dev/full", background=False, level=logging.INFO)
    LOGGER.error("lost")
    assert capfd.readouterr() == ("", "")


def test_a_second_start_replaces_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    to_file(tmp_path / "first")
    to_file(tmp_path / "second")
    LOGGER.info("once")
    assert (tmp_path / "first").read_text() == ""
    assert (tmp_path / "second").read_text().count("once") == 1
    assert caplog.text == ""


def test_the_foreground_logs_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    log.start(None, background=False, level=logging.INFO)
    LOGGER.info("hello")
    assert capsys.readouterr().err.endswith("INFO: hello\n")


def test_the_background_logs_to_syslog_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path / "none"))
    log.start(None, background=True, level=logging.INFO)
    LOGGER.info("nowhere")
    monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path / "syslog"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "syslog"))
        syslog.settimeout(10)
        log.start(None, background=True, level=logging.INFO)
        LOGGER.info("hello")
        assert syslog.recv(1000).rstrip(b"\0").endswith(b"xget[%d]: INFO: hello" % os.getpid())
    LOGGER.info("syslog is gone, and logging does not fail")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["removed", "another file", "read-only"])
def test_a_log_whose_directory_vanishes_never_raises_and_is_opened_again(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As that of an initramfs after switch_root."""
    monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path / "none"))
    directory = tmp_path / "logs"
    directory.mkdir()
    to_file(directory / "log")
    LOGGER.info("before")
    directory.rename(tmp_path / "aside")
    if how == "another file":
        directory.touch()
    elif how == "read-only":
        directory.symlink_to("/proc/self")
    for number in range(3):
        LOGGER.info("lost %d", number)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        monkeypatch.setattr(log_formats, "SYSLOG_SOCKET", str(tmp_path / "syslog"))
        syslog.bind(str(tmp_path / "syslog"))
        syslog.settimeout(10)
        LOGGER.info("to syslog")
        assert syslog.recv(1000).rstrip(b"\0").endswith(b"INFO: to syslog")
    LOGGER.info("lost again")
    if directory.is_symlink() or directory.exists():
        directory.unlink()
    directory.mkdir()
    LOGGER.info("after")
    lines = [line.partition("]")[2] for line in (directory / "log").read_text().splitlines()]
    again = " WARNING: the log file could not be opened for a time; 5 lines are in syslog, if there is one"
    assert lines == [again, " INFO: after"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("debug", "verbose", "quiet", "level"),
    [
        (0, False, False, logging.INFO),
        (0, False, True, logging.WARNING),
        (0, True, False, logging.DEBUG),
        (1, False, True, logging.DEBUG),
        (2, False, True, TRACE),
    ],
)
def test_the_options_choose_the_level(tmp_path: Path, debug: int, verbose: bool, quiet: bool, level: int) -> None:
    assert log.level(debug=debug, verbose=verbose, quiet=quiet) == level
    to_file(tmp_path / "log", level)
    weights = (TRACE, logging.DEBUG, logging.INFO, logging.WARNING)
    for weight in weights:
        LOGGER.log(weight, "%d", weight)
    logged = (tmp_path / "log").read_text().splitlines()
    assert len(logged) == sum(weight >= level for weight in weights)


def test_a_log_stream_logs_each_line_as_an_error(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    stream = io.TextIOWrapper(io.BufferedWriter(LogStream()), line_buffering=True)
    stream.write("Traceback\n\n  é ")
    stream.write("line\n")
    lines = [line.partition("ERROR: ")[2] for line in (tmp_path / "log").read_text().splitlines()]
    assert lines == ["Traceback", "  é line"]


def test_the_traceback_of_a_greenlet_is_logged(tmp_path: Path) -> None:
    code = """
import io, sys, gevent
from xget_lib.report import log
log.start(sys.argv[1], background=True, level=20)
gevent.get_hub().exception_stream = io.TextIOWrapper(io.BufferedWriter(log.LogStream()), line_buffering=True)
gevent.spawn(lambda: 1 / 0).join()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ERROR: ZeroDivisionError: division by zero\n" in (tmp_path / "log").read_text()


def test_an_ordinary_error_of_a_greenlet_has_no_traceback(tmp_path: Path) -> None:
    code = """
import sys, gevent
from xget_lib.errors import LinkLost
from xget_lib.report import log
log.start(sys.argv[1], background=True, level=20)
log.catch_greenlets()
def fail(): raise LinkLost("head:1", "no answer")
greenlet = gevent.spawn(fail)
greenlet.join()
assert str(greenlet.exception) == "head:1: no answer"
gevent.spawn(lambda: 1 / 0).join()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    logged = (tmp_path / "log").read_text()
    assert "ZeroDivisionError" in logged and "LinkLost" not in logged


def test_a_message_is_one_line_whatever_is_in_it(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    LOGGER.info("%s", "\x1b]0;x\x07\r\n2026-01-01 00:00:00,000 xget[1] INFO: all is well")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.endswith("INFO: \\x1b]0;x\\x07\\r\\n2026-01-01 00:00:00,000 xget[1] INFO: all is well")
