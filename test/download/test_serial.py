"""The serial of a destination: what was signed earlier is refused, and what is written is on disk and lasts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xget_lib.download.serial import check_serial, take_serial
from xget_lib.download.staging import Staging
from xget_lib.errors import DestinationRefused, NotTrusted
from xget_lib.fs.rooted import Root
from xget_lib.manifest.signature import Signature, Signed

FIRST, SECOND = bytes([1]) * 32, bytes([2]) * 32


def signed(serial: int, generation: bytes = FIRST) -> Signed:
    return Signed(generation, Signature(serial, 1_700_000_000 + serial, bytes(64)))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with Root(bytes(tmp_path)) as root:
        yield root


def take(root: Root, each: Signed, *, allow_rollback: bool = False) -> None:
    """As a run does it."""
    staging = Staging(root)
    staging.open()
    try:
        take_serial(root, each, allow_rollback=allow_rollback)
    finally:
        staging.close()


def check(tmp_path: Path, each: Signed, *, allow_rollback: bool = False) -> None:
    check_serial(bytes(tmp_path), each, allow_rollback=allow_rollback)


def test_the_serial_stays_when_the_run_has_ended(root: Root, tmp_path: Path) -> None:
    check(tmp_path / "nothing yet", signed(5))
    check(tmp_path, signed(5))
    take(root, signed(5))
    assert os.listdir(tmp_path / ".xget") == ["serial"]
    staging = Staging(root)
    staging.open()
    assert not staging.resumed
    staging.remove()
    assert os.listdir(tmp_path / ".xget") == ["serial"]
    for allowed in (signed(5), signed(6), signed(7, SECOND)):
        check(tmp_path, allowed)
        take(root, allowed)


def test_what_was_signed_earlier_is_refused_in_words(root: Root, tmp_path: Path) -> None:
    take(root, signed(5, SECOND))
    for older in (signed(4), signed(0), signed(5)):
        with pytest.raises(NotTrusted):
            take(root, older)
        with pytest.raises(NotTrusted) as error:
            check(tmp_path, older)
        assert error.value.exit_status == 5
    assert str(error.value) == (
        f"generation 0101010101010101: signed with serial 5 of 2023-11-14 22:13:25, but {tmp_path} has had serial 5"
        " of 2023-11-14 22:13:25 (--allow-rollback takes it)"
    )
    check(tmp_path, signed(5, SECOND))


def test_a_rollback_that_is_allowed_counts_from_then_on(root: Root, tmp_path: Path) -> None:
    take(root, signed(5, SECOND))
    check(tmp_path, signed(4), allow_rollback=True)
    take(root, signed(4), allow_rollback=True)
    check(tmp_path, signed(4))
    with pytest.raises(NotTrusted):
        check(tmp_path, signed(3))


def test_a_time_that_no_calendar_has_is_left_out(root: Root, tmp_path: Path) -> None:
    never = replace(signed(5), signature=Signature(5, 1 << 52, bytes(64)))
    take(root, never)
    with pytest.raises(NotTrusted, match=r"but [^ ]+ has had serial 5 \(--allow-rollback"):
        check(tmp_path, signed(4))


@pytest.mark.parametrize("text", [b"", b"x", b"{}", b"[" * 5000])
def test_a_damaged_serial_is_refused_and_not_forgotten(root: Root, tmp_path: Path, text: bytes) -> None:
    (tmp_path / ".xget").mkdir()
    (tmp_path / ".xget" / "serial").write_bytes(text)
    with pytest.raises(DestinationRefused, match=r"\.xget/serial: damaged \(remove it"):
        check(tmp_path, signed(5))


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_what_is_no_file_is_refused_at_once(root: Root, tmp_path: Path, kind: str) -> None:
    (tmp_path / ".xget").mkdir()
    at = tmp_path / ".xget" / "serial"
    if kind == "fifo":
        os.mkfifo(at)
    elif kind == "link":
        at.symlink_to("/etc/passwd")
    else:
        at.mkdir()
    with pytest.raises(DestinationRefused):
        check(tmp_path, signed(5))


def test_a_destination_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DestinationRefused, match="Not a directory"):
        check(tmp_path / "file", signed(5))
