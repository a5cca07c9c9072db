"""Lines on stdout and stderr: any name, any character set, and nobody who reads."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from xget_lib.report import output


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(output, "_failure", None)
    yield


class Broken(io.StringIO):
    """A stream whose writes fail."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.tries = 0
        self._error = error

    def write(self, text: str) -> int:
        self.tries += 1
        raise self._error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_is_printed_in_any_character_set(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    output.accept_all_characters()
    output.print_line("\u65e5 \udcff \x1b[31m\n")
    output.print_error("\u65e5")
    line, error = (stream.buffer.getvalue() for stream in streams)
    assert line.count(b"\n") == 1 and b"\x1b" not in line
    assert b"\\x1b[31m\\n\n" in line
    assert error == "\u65e5\n".encode(encoding, "backslashreplace")


def test_a_full_stdout_is_remembered_and_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Broken(OSError(28, "No space left on device"))
    monkeypatch.setattr(sys, "stdout", full)
    output.print_line("a")
    output.print_line("b")
    assert full.tries == 1
    failure = output.failure()
    assert failure is not None and failure.strerror == "No space left on device"


def test_a_reader_that_has_gone_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError(32, "Broken pipe")))
    output.print_line("a")
    assert output.failure() is None


def test_an_error_that_cannot_be_printed_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(OSError(5, "Input/output error")))
    output.print_error("a")
