"""How a master comes to signatures: from its key or from the file, and what it says where there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from test.support.keys import KeyFiles
from xget_lib import ipc
from xget_lib.errors import Failed, NotTrusted
from xget_lib.ipc.jobs import AddSignature, Request
from xget_lib.manifest.signature import NUMBER_LIMIT, Signed
from xget_lib.master.signatures import Signatures
from xget_lib.master.workers import WorkerPool
from xget_lib.signing import signature_file
from xget_lib.signing.keys import read_signing_key
from xget_lib.signing.signature_file import LINES_KEPT
from xget_lib.worker import jobs

FIRST, SECOND = bytes([1]) * 32, bytes([2]) * 32


class Workers:
    """A pool that does jobs in place."""

    def __init__(self, before: Callable[[Request], object] = lambda _: None) -> None:
        """`before`: happens before each job."""
        self._before = before

    def work(self, what: str, request: Request, expected: type[Any], descriptors: Sequence[int] = ()) -> Any:
        self._before(request)
        answer, made = jobs.perform(ipc.Job(1, request), descriptors)
        if isinstance(answer, ipc.JobFailed):
            raise Failed(what, answer.error)
        assert isinstance(answer.result, expected)
        return answer.result, made


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    (tmp_path / "served").mkdir()
    return bytes(tmp_path / "served")


def signatures(
    root: bytes,
    keys: KeyFiles | None = None,
    path: bytes = b"",
    *,
    needed: bool = False,
    before: Callable[[Request], object] = lambda _: None,
) -> Signatures:
    key = read_signing_key("sign-key", str(keys.private)) if keys is not None else None
    return Signatures(cast(WorkerPool, Workers(before)), root, path, key, needed=needed)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return found


def test_without_a_file_nothing_is_signed_and_nothing_said(root: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert signatures(root).of(FIRST) is None
    assert warnings(caplog) == []


def test_of_what_was_signed_elsewhere_the_newest_signature_counts(
    root: bytes, keys: KeyFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signed = [keys.sign(generation, serial) for serial, generation in ((5, FIRST), (9, FIRST), (7, SECOND), (6, FIRST))]
    (tmp_path / "xget.sig").write_bytes(signature_file.encode(signed))
    of_file = signatures(root)
    found = of_file.of(FIRST)
    assert found is not None and found.serial == 9
    other = of_file.of(SECOND)
    assert other is not None and other.serial == 7
    assert warnings(caplog) == []


def test_a_file_that_does_not_have_it_is_one_line(
    root: bytes, keys: KeyFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signature_file.add(bytes(tmp_path / "xget.sig"), keys.sign(FIRST))
    of_file = signatures(root)
    assert of_file.of(SECOND) is of_file.of(SECOND) is None
    (line,) = warnings(caplog)
    assert line.startswith(f"{tmp_path}/xget.sig has no signature of generation 0202020202020202: clients with --trust")


def test_what_must_be_signed_is_refused_until_it_is(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    of_file = signatures(root, needed=True)
    for _ in range(2):
        with pytest.raises(NotTrusted, match=r"generation 0101.*: .*xget\.sig has no signature of it, so it is not"):
            of_file.of(FIRST)
    signature_file.add(bytes(tmp_path / "xget.sig"), keys.sign(FIRST))
    assert of_file.of(FIRST) is not None


def test_a_file_that_cannot_be_read_is_one_line(root: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "xget.sig").write_bytes(b"?\n")
    of_file = signatures(root)
    assert of_file.of(FIRST) is of_file.of(FIRST) is None
    (line,) = warnings(caplog)
    assert line.startswith(f"cannot read signatures: {tmp_path}/xget.sig line 1") and "not a signature" in line


def test_what_is_valid_in_a_damaged_file_is_used(
    root: bytes, keys: KeyFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "xget.sig"
    path.write_bytes(b"?\n" + signature_file.encode([keys.sign(FIRST, 1 << 40)]))
    found = signatures(root).of(FIRST)
    assert found is not None and found.serial == 1 << 40
    caplog.clear()
    before = path.read_bytes()
    by_key = signatures(root, keys)
    second = by_key.of(SECOND)
    assert second is not None and second.serial == (1 << 40) + 1
    by_key.of(SECOND)
    read, saved = warnings(caplog)
    assert read.startswith(f"cannot read signatures: {path} line 1: not a signature")
    assert saved.startswith(f"cannot save the signature: {path} line 1: not a signature")
    assert path.read_bytes() == before, "nobody knows what it is"
    path.write_bytes(signature_file.encode([keys.sign(FIRST, 1 << 40)]))
    assert by_key.of(SECOND) == second and warnings(caplog) == []
    assert len(signature_file.read(bytes(path))) == 2
    path.write_bytes(before)
    by_key.of(SECOND)
    assert warnings(caplog) == [read, saved], "it is damaged again"


def test_a_key_signs_each_generation_once_and_again_when_it_comes_back(
    root: bytes, keys: KeyFiles, tmp_path: Path
) -> None:
    by_key = signatures(root, keys)
    made = [by_key.of(generation) for generation in (FIRST, FIRST, SECOND, FIRST)]
    serials = [each.serial for each in made if each is not None]
    assert serials[0] == serials[1] < serials[2] < serials[3]
    there = signature_file.read(bytes(tmp_path / "xget.sig"))
    assert [each.generation for each in there] == [FIRST, SECOND]
    after_restart = signatures(root, keys).of(FIRST)
    assert after_restart == made[-1]


def test_a_serial_that_another_signer_takes_meanwhile_is_not_used(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    path = bytes(tmp_path / "xget.sig")
    taken: list[Signed] = []

    def another_signs(request: Request) -> None:
        if isinstance(request, AddSignature) and not taken:
            (wanted,) = signature_file.decode(request.line)
            taken.append(keys.sign(SECOND, wanted.signature.serial))
            signature_file.add(path, taken[0])

    signature = signatures(root, keys, before=another_signs).of(FIRST)
    assert signature is not None and signature.serial == taken[0].signature.serial + 1
    assert signature_file.read(path) == [Signed(FIRST, signature), *taken]


def test_a_master_that_always_comes_too_late_does_not_try_for_ever(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    def another_signs(request: Request) -> None:
        if isinstance(request, AddSignature):
            (wanted,) = signature_file.decode(request.line)
            signature_file.add(bytes(tmp_path / "xget.sig"), keys.sign(SECOND, wanted.signature.serial))

    with pytest.raises(Failed, match=r"xget\.sig: others sign all the time"):
        signatures(root, keys, before=another_signs).of(FIRST)


def test_masters_side_by_side_do_not_make_each_other_sign_again(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    first, second = signatures(root, keys), signatures(root, keys)
    made = [first.of(FIRST), second.of(SECOND)]
    for _ in range(3):
        assert [first.of(FIRST), second.of(SECOND)] == made
    there = signature_file.read(bytes(tmp_path / "xget.sig"))
    assert [each.signature for each in there] == made[::-1]
    first.of(SECOND)
    again = first.of(FIRST)
    assert again is not None and again.serial == signature_file.highest_serial(there) + 1, "it came back"


def test_masters_that_start_again_do_not_push_out_what_others_have_signed(
    root: bytes, keys: KeyFiles, tmp_path: Path
) -> None:
    path, third = bytes(tmp_path / "xget.sig"), keys.sign(bytes([3]) * 32)
    signature_file.add(path, third)
    for _ in range(LINES_KEPT // 2 + 1):
        signatures(root, keys).of(FIRST)
        signatures(root, keys).of(SECOND)
    assert [each.generation for each in signature_file.read(path)] == [SECOND, FIRST, third.generation]


def test_masters_of_one_directory_with_two_keys_do_not_make_each_other_sign_again(
    root: bytes, keys: KeyFiles, tmp_path: Path
) -> None:
    old, new = signatures(root, keys), signatures(root, KeyFiles(tmp_path, "next"))
    made = [old.of(FIRST), new.of(FIRST)]
    assert [old.of(FIRST), new.of(FIRST)] == made
    (there,) = signature_file.read(bytes(tmp_path / "xget.sig"))
    assert there.signature == made[1]


def test_masters_of_one_directory_use_the_newest_signature(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    first, second = signatures(root, keys), signatures(root, keys)
    assert first.of(FIRST) == second.of(FIRST)
    second.of(SECOND)
    assert second.of(FIRST) == first.of(FIRST)


def test_a_file_that_is_removed_comes_back(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    by_key = signatures(root, keys)
    made = by_key.of(FIRST)
    (tmp_path / "xget.sig").unlink()
    assert by_key.of(FIRST) == made
    assert [each.signature for each in signature_file.read(bytes(tmp_path / "xget.sig"))] == [made]


def test_serials_do_not_go_back_with_the_file(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    path = tmp_path / "xget.sig"
    signature_file.add(bytes(path), keys.sign(FIRST, 1 << 40))
    before = path.read_bytes()
    by_key = signatures(root, keys)
    by_key.of(FIRST), by_key.of(SECOND)
    path.write_bytes(before)
    first = by_key.of(FIRST)
    assert first is not None and first.serial == (1 << 40) + 2, "the second one was newer"
    path.unlink()
    second = by_key.of(SECOND)
    assert second is not None and second.serial == (1 << 40) + 3


def test_after_the_last_serial_nothing_is_signed(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    signature_file.add(bytes(tmp_path / "xget.sig"), last := keys.sign(FIRST, NUMBER_LIMIT))
    by_key = signatures(root, keys)
    assert by_key.of(FIRST) == last.signature
    with pytest.raises(Failed, match="no higher one can be given"):
        by_key.of(SECOND)


def test_serials_do_not_go_back_with_the_clock(
    root: bytes, keys: KeyFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signatures(root, keys).of(FIRST)
    monkeypatch.setattr("xget_lib.master.signatures.time.time", lambda: 1000.0)
    after = signatures(root, keys).of(SECOND)
    assert before is not None and after is not None
    assert (after.serial, after.time) == (before.serial + 1, 1000)


def test_another_key_signs_anew(root: bytes, keys: KeyFiles, tmp_path: Path) -> None:
    before = signatures(root, keys).of(FIRST)
    after = signatures(root, KeyFiles(tmp_path, "next")).of(FIRST)
    assert before is not None and after is not None and after.serial > before.serial


def test_where_no_worker_answers_the_key_signs_nevertheless(
    root: bytes, keys: KeyFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request) -> None:
        raise Failed("signature", "several workers ended")

    by_key = signatures(root, keys, before=fail)
    assert by_key.of(FIRST) == by_key.of(FIRST) is not None
    assert warnings(caplog) == ["cannot read signatures: several workers ended"]


def test_a_signature_that_cannot_be_saved_counts_nevertheless(
    root: bytes, keys: KeyFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_key = signatures(root, keys, bytes(tmp_path / "nothing" / "xget.sig"))
    first, again, second = by_key.of(FIRST), by_key.of(FIRST), by_key.of(SECOND)
    assert first == again and first is not None and second is not None and second.serial > first.serial
    (line,) = warnings(caplog)
    assert line.startswith(f"cannot save the signature: {tmp_path}/nothing/xget.sig: No such file")
