"""Errors: one line of text, an exit status for scripts, an errno for 9P clients, and the facts as attributes."""

from __future__ import annotations

import errno
import inspect
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xget_lib import cli, errors
from xget_lib.errors import TEXT_LIMIT, Exit, NinepError, XGetError, one_line, printable

NASTY = "a\nb\x1b[2J\x7f\u2028\udcff"
MADE = [
    errors.XGetError("x"),
    errors.Failed("what", "why"),
    errors.UsageError("x"),
    errors.Interrupted(2),
    errors.PathRefused(NASTY, "why"),
    errors.CannotStart("thread"),
    errors.CannotWatch("why"),
    errors.SourceSuspect(b"a\n", "why"),
    errors.StillChanging(b"a\n"),
    errors.CommandFailed("reload", "why", 8),
    errors.NothingRuns(["a\n"]),
    errors.Outdated("why"),
    errors.AddressRefused("", 1, "why"),
    errors.NoFreePort("", 4000, 4009),
    errors.DestinationRefused(NASTY.encode("utf-8", "surrogateescape"), "why"),
    errors.PartlyRefused([(NASTY.encode("utf-8", "surrogateescape"), "why"), (b"b", "why")]),
    errors.TooManyRemovals(NASTY.encode("utf-8", "surrogateescape"), 60, 100, "50%"),
    errors.MasterUnreachable("head", 1, 60.0, "why"),
    errors.Stalled(60.0, "1 B", "the master"),
    errors.KeepsChanging(10, 60.0),
    errors.LinkLost("peer", "why"),
    errors.NotServed(NASTY),
    errors.Incomplete(b"a\n", "why", 1),
    errors.NotAdmitted("head:1", "why"),
    errors.MungeRefused("why"),
    errors.MungeUnavailable("why"),
    errors.PieceMismatch(b"a\n", 0, "peer"),
    errors.NoGoodSource(b"a\n", "peer"),
    errors.MalformedManifest("why"),
    errors.NotTrusted(bytes(32), "why"),
    errors.NotHeld(0, 1),
    errors.StaleGeneration(b"a\n"),
    errors.RetiredGeneration(),
    errors.NinepError(errno.EROFS),
    errors.ProtocolViolation("x"),
]


def test_this_file_covers_every_error_class() -> None:
    classes = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, XGetError)}
    assert classes == {type(error) for error in MADE}


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line_with_an_exit_status_and_an_errno(error: XGetError) -> None:
    assert str(error).isprintable() and str(error)
    assert error.exit_status in set(Exit) - {Exit.OK}
    assert error.errno in errno.errorcode


def test_the_help_lists_every_exit_status() -> None:
    text = (cli.__doc__ or "").partition("Exit status:")[2]
    assert {int(number) for number in re.findall(r"\b\d+\b", text)} == set(Exit)


def test_the_exit_statuses_are_those_of_the_contract() -> None:
    of = {type(error): error.exit_status for error in MADE}
    assert of[errors.UsageError] == 2
    assert of[errors.MasterUnreachable] == of[errors.Stalled] == 3
    assert of[errors.NotServed] == 4
    assert of[errors.NoGoodSource] == of[errors.MalformedManifest] == of[errors.NotTrusted] == 5
    assert of[errors.DestinationRefused] == 6
    assert of[errors.NotAdmitted] == 7
    assert [errors.Interrupted(number).exit_status for number in (2, 15)] == [130, 143]


def test_a_9p_error_has_the_text_of_its_errno_unless_it_has_its_own() -> None:
    assert str(NinepError(errno.EROFS)) == "Read-only file system"
    assert str(NinepError(errno.EROFS, "no")) == "no"
    assert NinepError(errno.EROFS).errno == errno.EROFS


@pytest.mark.parametrize("text", ["\x1b]0;x\x07\r\nxget: in place", "x" * 5000, "\n" * 5000, NASTY, "", "é" * 1024])
def test_a_text_of_a_stranger_is_one_bounded_line(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable() and len(shown) <= TEXT_LIMIT and bool(shown) == bool(text)
    assert one_line(shown) == shown


def test_errors_carry_facts() -> None:
    assert errors.StaleGeneration(b"a").path == errors.NoGoodSource(b"a", "x").path == b"a"
    mismatch = errors.PieceMismatch(b"a", 7, "peer")
    assert (mismatch.path, mismatch.offset, mismatch.source) == (b"a", 7, "peer")
    refused = errors.DestinationRefused("/d", "disk full")
    assert (refused.path, refused.why) == ("/d", "disk full")


@pytest.mark.parametrize(
    ("others", "text"),
    [
        (0, "a: not readable at the master: why (everything else is in place)"),
        (1, "a and 1 other: not readable at the master: why (everything else is in place)"),
        (2, "a and 2 others: not readable at the master: why (everything else is in place)"),
    ],
)
def test_an_incomplete_run_says_how_much_is_missing(others: int, text: str) -> None:
    assert str(errors.Incomplete(b"a", "why", others)) == text


def test_a_port_in_use_has_a_hint() -> None:
    assert "-p" in str(errors.AddressRefused("", 1, "Address already in use"))
    assert "-p" not in str(errors.AddressRefused("", 1, "Permission denied"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain name", "plain name"),
        ("é", "é"),
        (b"a\nb\t", "a\\nb\\t"),
        (b"\xff", "\\udcff"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202e", "\\u202e"),
        ("", ""),
    ],
)
def test_printable_escapes_names(name: bytes | str, text: str) -> None:
    assert printable(name) == text


@settings(deadline=None)
@given(st.binary() | st.text(st.characters()))
def test_any_name_becomes_one_line_of_utf8(name: bytes | str) -> None:
    text = printable(name)
    assert text.isprintable()
    text.encode()


def test_errors_do_not_contain_the_prefix_that_the_command_adds() -> None:
    source = Path(errors.__file__).read_text().partition("import errno")[2]
    assert "xget: " not in source


def test_wrong_content_is_named_file_by_file_up_to_a_number() -> None:
    lines = errors.NoGoodSource(b"first", "peer", [b"%d" % number for number in range(11)]).lines
    assert len(lines) == 11
    assert lines[1].startswith("0: content from peer failed verification, and no other server has it")
    assert lines[-1] == "2 more files failed verification"
    assert errors.NoGoodSource(b"first", "peer").lines == [str(errors.NoGoodSource(b"first", "peer"))]
