"""The output of a run: for scripts, on a terminal, without a terminal."""

from __future__ import annotations

import errno
import json
import os
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
import tqdm as tqdm_module

from xget_lib.report.events import Bar, JsonLines, Lines, Reporter, choose, size, summary

START = {
    "event": "start",
    "generation": "00" * 32,
    "files": 2,
    "bytes": 3 << 20,
    "message": "2 files requested",
}
HALF = {"event": "progress", "bytes": 1 << 20, "fetched": 1 << 20, "peers": 3}
STALL = {"event": "stall", "message": "no data received for 5 s"}
ERROR = {"event": "error", "message": "head: gone"}
DONE: dict[str, Any] = {
    "event": "done",
    "exit": 0,
    "generation": "00" * 32,
    "files": 2,
    "bytes": 3 << 20,
    "fetched": 2 << 20,
    "from_master": 1 << 20,
    "reused": 1 << 20,
    "unchanged": 0,
    "peers": 4,
    "removed": 0,
    "seconds": 1.25,
}
FAILED = {"event": "done", "exit": 3}
RUN: list[Mapping[str, Any]] = [START, HALF, STALL, DONE]

LINE = (
    "xget: 2 files, 3.0 MiB in place: fetched and verified 2.0 MiB in 1.2 s"
    " (1.0 MiB from the master, 1.0 MiB from 4 peers); 1.0 MiB already present\n"
)


def report(reporter: Reporter, run: list[Mapping[str, Any]]) -> None:
    for event in run:
        reporter.report(event)
    reporter.close()


# The summary


def test_the_summary_lists_the_sources() -> None:
    assert summary(DONE) + "\n" == LINE


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"files": 1, "reused": 0},
            "1 file, 3.0 MiB in place: fetched and verified 2.0 MiB in 1.2 s (1.0 MiB from the",
        ),
        ({"peers": 1}, " 1.0 MiB from 1 peer);"),
        ({"peers": 0, "from_master": 2 << 20, "reused": 0}, "(2.0 MiB from the master)"),
        ({"fetched": 0}, "3.0 MiB in place; nothing to fetch (1.2 s)"),
    ],
)
def test_the_summary_omits_zero_counts(changed: dict[str, int], line: str) -> None:
    assert line in summary({**DONE, **changed})


def test_the_summary_says_how_many_files_were_not_read() -> None:
    kept = {**DONE, "fetched": 0, "files": 2, "unchanged": 1}
    assert "in place (1 file unchanged by size and time); nothing to fetch" in summary(kept)
    assert "(3 files unchanged by size and time): fetched and verified" in summary({**DONE, "unchanged": 3})


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1536 * 1024, "1.5 MiB"),
        (1024**4, "1.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes_have_binary_units(count: int, text: str) -> None:
    assert size(count) == text


# JSON


def test_json_is_one_object_per_line_with_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    before = round(time.time(), 3)
    report(JsonLines(), [*RUN[:3], {**ERROR, "message": "a\nb"}, DONE])
    printed = capsys.readouterr()
    said = [json.loads(line) for line in printed.out.splitlines()]
    assert [each["event"] for each in said] == ["start", "progress", "stall", "error", "done"]
    assert all(before <= each["time"] <= time.time() + 0.001 for each in said)
    assert {**DONE, "time": said[-1]["time"]} == said[-1]
    assert printed.err == "xget: a\\nb\n"


# Lines


@pytest.mark.parametrize(
    ("quiet", "verbose", "out", "err"),
    [
        (False, False, LINE, "xget: no data received for 5 s\n"),
        (False, True, LINE, "xget: 2 files requested\nxget: no data received for 5 s\n"),
        (True, False, "", ""),
    ],
)
def test_without_a_terminal_the_summary_is_the_only_line(
    capsys: pytest.CaptureFixture[str], quiet: bool, verbose: bool, out: str, err: str
) -> None:
    report(Lines(quiet=quiet, verbose=verbose), RUN)
    assert capsys.readouterr() == (out, err)


@pytest.mark.parametrize("quiet", [False, True])
def test_an_error_is_printed_even_if_quiet(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    report(Lines(quiet=quiet, verbose=False), [START, ERROR, FAILED])
    assert capsys.readouterr() == ("", "xget: head: gone\n")


def test_a_quiet_run_that_fails_says_what_it_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    report(Lines(quiet=True, verbose=False), [START, STALL, ERROR, FAILED])
    assert capsys.readouterr() == ("", "xget: no data received for 5 s\nxget: head: gone\n")


@pytest.mark.parametrize(("quiet", "err"), [(False, "xget: owners are not set\n"), (True, "")])
def test_notes_are_printed_unless_quiet(capsys: pytest.CaptureFixture[str], quiet: bool, err: str) -> None:
    report(Lines(quiet=quiet, verbose=False), [{**DONE, "notes": ["owners are not set"]}])
    assert capsys.readouterr().err == err


# The terminal


class Terminal:
    """A pseudo-terminal as stderr. `close` returns what was written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 100))
        self._stream = os.fdopen(slave, "w")
        self._shown = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._monkeypatch = monkeypatch

    def begin(self) -> None:
        """Call it in the test: pytest replaces stderr between a fixture and its test."""
        self._monkeypatch.setattr(sys, "stderr", self._stream)

    def _read(self) -> None:
        try:
            while part := os.read(self._master, 4096):
                self._shown += part
        except OSError as error:
            assert error.errno == errno.EIO  # the other side is closed

    def close(self) -> str:
        if not self._stream.closed:
            self._stream.close()
            self._reader.join()
            os.close(self._master)
        return self._shown.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setattr(tqdm_module.tqdm, "monitor_interval", 0)  # no thread that outlives the test
    terminal = Terminal(monkeypatch)
    yield terminal
    terminal.close()


def test_the_bar_shows_progress_peers_and_stalls(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.begin()
    bar = Bar()
    bar.report(START)
    assert bar._bar is not None
    bar._bar.mininterval = 0
    for event in (HALF, STALL, DONE):
        bar.report(event)
    bar.close()
    shown = terminal.close()
    assert "33%" in shown and "1.00M/3.00M" in shown and "3 peers" in shown
    assert "no data received for 5 s" in shown
    assert shown.rstrip(" ").endswith("\r"), "the bar is removed at the end"
    assert capsys.readouterr().out == LINE


def test_an_error_on_a_terminal_is_a_line_of_its_own(terminal: Terminal) -> None:
    terminal.begin()
    report(Bar(), [START, HALF, ERROR, FAILED])
    assert terminal.close().endswith("\rxget: head: gone\r\n")


def test_a_stall_before_the_start_is_printed(terminal: Terminal) -> None:
    terminal.begin()
    report(Bar(), [STALL])
    assert terminal.close() == "xget: no data received for 5 s\r\n"


def test_a_second_start_resets_the_bar(terminal: Terminal) -> None:
    """After a new generation the total is another one, and progress starts again."""
    terminal.begin()
    bar = Bar()
    for event in (START, HALF, {**START, "bytes": 7}, {**HALF, "bytes": 5}, {**HALF, "bytes": 7}):
        bar.report(event)
    assert bar._bar is not None and (bar._bar.n, bar._bar.total) == (7, 7)
    bar.close()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"as_json": True, "quiet": False}, JsonLines),
        ({"as_json": True, "quiet": True}, JsonLines),
        ({"as_json": False, "quiet": True}, Lines),
        ({"as_json": False, "quiet": False}, Bar),
    ],
)
def test_a_terminal_gets_a_bar_unless_quiet_or_json(
    terminal: Terminal, options: dict[str, bool], kind: type[Reporter]
) -> None:
    terminal.begin()
    assert type(choose(**options, verbose=False)) is kind


def test_the_run_goes_on_when_its_terminal_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm_module.tqdm, "monitor_interval", 0)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        bar = Bar()
        bar.report(START)
        assert bar._bar is not None
        bar._bar.mininterval = 0
        os.close(ours)
        report(bar, [HALF, STALL, HALF, START, HALF, ERROR, FAILED])
        with suppress(OSError):
            stream.close()


def test_without_tqdm_a_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.begin()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert type(choose(as_json=False, quiet=False, verbose=False)) is Lines


def test_without_a_terminal_there_are_lines() -> None:
    with open(os.devnull, "w") as nowhere, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", nowhere)
        assert type(choose(as_json=False, quiet=False, verbose=False)) is Lines


@pytest.mark.parametrize("make", [JsonLines, lambda: Lines(quiet=True, verbose=False), Bar])
def test_the_done_event_of_a_failed_run_needs_no_counts(make: Callable[[], Reporter], terminal: Terminal) -> None:
    terminal.begin()
    report(make(), [ERROR, FAILED])
    assert terminal.close() == "xget: head: gone\r\n"


def test_the_summary_counts_removed_names() -> None:
    assert ", 3 names removed: fetched and verified 2.0 MiB" in summary(DONE | {"removed": 3})


@pytest.mark.parametrize(
    ("would", "expected"),
    [
        ({}, "xget: nothing to do: 2 files, 3.0 MiB in place (1.2 s)"),
        ({"fetch": 2, "bytes": 2048}, "xget: would fetch 2.0 KiB of 2 files; nothing was changed (1.2 s)"),
        ({"make": 1, "remove": 2}, "xget: would make 1 name, remove 2 names; nothing was changed (1.2 s)"),
    ],
)
def test_the_summary_of_a_dry_run(would: dict[str, int], expected: str) -> None:
    nothing = {"fetch": 0, "make": 0, "link": 0, "correct": 0, "remove": 0, "bytes": 0}
    assert summary(DONE | {"would": nothing | would}) == expected


def test_the_steps_of_a_dry_run_are_columns(capsys: pytest.CaptureFixture[str]) -> None:
    step = {"event": "step", "action": "fetch", "path": "a/b c", "bytes": 1234}
    report(Lines(quiet=False, verbose=False), [step, step | {"action": "remove", "bytes": 0}])
    assert capsys.readouterr().out == "fetch              1234 a/b c\nremove                  a/b c\n"
    report(Lines(quiet=True, verbose=False), [step])
    assert capsys.readouterr().out == ""
