"""The signature file: which one belongs to a directory, what it keeps, and the serials that follow each other."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xget_lib.errors import Failed, UsageError
from xget_lib.fs.lock_file import locked
from xget_lib.manifest.signature import NUMBER_LIMIT, Signature, Signed
from xget_lib.signing import signature_file
from xget_lib.signing.signature_file import FILE_LIMIT, LINES_KEPT, add, newest, next_serial, path_of, read, usual_path


def signed(serial: int, generation: int = 0) -> Signed:
    return Signed(bytes([generation]) * 32, Signature(serial, 1_700_000_000, bytes(64)))


def test_the_usual_file_is_beside_what_is_really_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "releases" / "42" / "inside").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "current").symlink_to("releases/42")
    releases, top = bytes(tmp_path / "releases" / "xget.sig"), bytes(tmp_path / "xget.sig")
    assert usual_path(bytes(tmp_path / "releases" / "42")) == releases
    assert usual_path(bytes(tmp_path / "current")) == releases  # it is switched together with the link
    assert usual_path(bytes(tmp_path / "current") + b"/inside/..") == releases
    assert usual_path(bytes(tmp_path / "file")) == top
    monkeypatch.chdir(tmp_path / "releases" / "42")
    assert usual_path(b".") == releases
    assert usual_path(b"/") is usual_path(b"/tmp/..") is None


def test_a_signature_file_is_not_in_what_it_signs(tmp_path: Path) -> None:
    served, beside = tmp_path / "served", tmp_path / "served.sig"
    (served / "inside").mkdir(parents=True)
    (served / ".xget").mkdir()
    (tmp_path / "link").symlink_to(served / "inside")
    for root, option in (
        (served, served / "xget.sig"),
        (served, served / "inside" / "xget.sig"),
        (served, tmp_path / "link" / "xget.sig"),
        (tmp_path / "link", served / "inside" / "xget.sig"),
        (beside, beside),
        (Path("/"), beside),
    ):
        with pytest.raises(UsageError, match=r"--signature .*: is in what it signs \(name a file outside\)"):
            path_of(bytes(root), str(option), one_file_system=False)
    for option in (beside, served / ".xget" / "sig"):
        assert path_of(bytes(served), str(option), one_file_system=False) == bytes(option)
    assert path_of(bytes(served), None, one_file_system=False) == bytes(tmp_path / "xget.sig")
    with pytest.raises(UsageError, match="nothing is beside the directory /"):
        path_of(b"/", None, one_file_system=False)


def test_what_is_on_another_file_system_is_not_served_with_that_option() -> None:
    assert path_of(b"/", "/proc/xget.sig", one_file_system=True) == b"/proc/xget.sig"


def test_the_newest_line_comes_first_and_the_oldest_go(tmp_path: Path) -> None:
    path = bytes(tmp_path / "xget.sig")
    assert read(path) == []
    for serial in range(1, LINES_KEPT + 3):
        add(path, signed(serial, serial % 256))
    there = read(path)
    assert [each.signature.serial for each in there] == list(range(LINES_KEPT + 2, 2, -1))
    assert newest(there) == signed(LINES_KEPT + 2, LINES_KEPT + 2)
    assert newest([]) is None
    assert len((tmp_path / "xget.sig").read_bytes()) < FILE_LIMIT
    assert os.listdir(tmp_path) == ["xget.sig"]


def test_the_longest_lines_fit(tmp_path: Path) -> None:
    path = bytes(tmp_path / "xget.sig")
    for number in range(LINES_KEPT + 1):
        longest = Signature(NUMBER_LIMIT - LINES_KEPT + number, NUMBER_LIMIT, b"\xff" * 64)
        assert add(path, Signed(bytes([number]) * 32, longest))
    assert len(read(path)) == LINES_KEPT


def test_who_can_only_read_the_directory_cannot_lock_it(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        add(bytes(tmp_path / "xget.sig"), signed(1))
    finally:
        os.close(directory)
    assert read(bytes(tmp_path / "xget.sig")) == [signed(1)]


def test_a_lock_that_is_not_given_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_file, "_LOCK_SECONDS", 0.0)
    path, link = bytes(tmp_path / "xget.sig"), tmp_path / "link"
    link.symlink_to("xget.sig")
    for name in (path, bytes(link)):
        with locked(path + b".lock", 0.0), pytest.raises(Failed, match=r"xget\.sig: locked by another process"):
            add(name, signed(1))


def test_a_new_signature_takes_the_place_of_the_former_one(tmp_path: Path) -> None:
    path = bytes(tmp_path / "xget.sig")
    for serial, generation in ((1, 1), (2, 2), (3, 1)):
        add(path, signed(serial, generation))
    assert read(path) == [signed(3, 1), signed(2, 2)]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays(tmp_path: Path, *, exists: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "signed", tmp_path / "xget.sig"
    link.symlink_to("elsewhere/signed")
    if exists:
        add(bytes(real), signed(1, 1))
    add(bytes(link), signed(2, 2))
    assert link.is_symlink()
    assert read(bytes(real))[0] == signed(2, 2) and len(read(bytes(real))) == 1 + exists
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "xget.sig"] and os.listdir(tmp_path / "elsewhere") == [
        "signed"
    ]


def test_a_serial_is_given_once(tmp_path: Path) -> None:
    path = bytes(tmp_path / "xget.sig")
    assert add(path, signed(5, 1))
    assert add(path, signed(5, 1)), "it is there"
    assert not add(path, signed(5, 2)) and not add(path, signed(4, 2))
    assert read(path) == [signed(5, 1)]


def test_of_signers_at_the_same_time_each_has_a_serial_of_its_own(tmp_path: Path) -> None:
    path, signers = bytes(tmp_path / "xget.sig"), 8

    def sign(generation: int) -> None:
        while not add(path, signed(signature_file.highest_serial(read(path)) + 1, generation)):
            pass

    with ThreadPoolExecutor(signers) as threads:
        list(threads.map(sign, range(LINES_KEPT)))
    there = read(path)
    assert [each.signature.serial for each in there] == list(range(LINES_KEPT, 0, -1))
    assert {each.generation[0] for each in there} == set(range(LINES_KEPT))


@pytest.mark.parametrize("text", [b"x\n", b"{}\n", b"[" * 10_000, b"\xff\n", b'{"serial": 1}\n'])
def test_a_line_that_is_no_signature_is_named(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "xget.sig"
    path.write_bytes(signature_file.encode([signed(1)]) + text)
    with pytest.raises(Failed, match=r"xget\.sig line 2: not a signature"):
        read(bytes(path))


def test_empty_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "xget.sig"
    path.write_bytes(
        b"\n" + signature_file.encode([signed(2, 2)]) + b" \r\n\n" + signature_file.encode([signed(1)]) + b"\n"
    )
    assert read(bytes(path)) == [signed(2, 2), signed(1)]
    add(bytes(path), signed(3, 3))
    assert b"\n\n" not in path.read_bytes()


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "xget.sig"
    path.write_bytes(b"\n" * (FILE_LIMIT + 1))
    with pytest.raises(Failed, match=f"more than {FILE_LIMIT} bytes"):
        read(bytes(path))
    with pytest.raises(Failed, match="Is a directory"):
        read(bytes(tmp_path))


@pytest.mark.parametrize(
    ("former", "now", "serial"),
    [(0, 1_700_000_000.9, 1_700_000_000), (1_700_000_000, 1_700_000_000.9, 1_700_000_001), (9, 3.0, 10), (0, 0.0, 1)],
)
def test_a_serial_is_the_time_and_never_goes_back(former: int, now: float, serial: int) -> None:
    assert next_serial(former, now) == serial


def test_no_serial_is_given_that_no_reader_takes() -> None:
    assert next_serial(NUMBER_LIMIT - 1, 0.0) == NUMBER_LIMIT
    with pytest.raises(Failed, match=f"serial {NUMBER_LIMIT}: no higher one can be given"):
        next_serial(NUMBER_LIMIT, 0.0)
