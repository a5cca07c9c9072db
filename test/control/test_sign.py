"""`xget.py sign`: what it signs, where, with which serial, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from test.support.keys import KeyFiles
from test.support.roles import Roles
from test.support.trees import small_tree, write
from xget_lib import cli
from xget_lib.control import sign as command
from xget_lib.manifest.manifest import Manifest
from xget_lib.manifest.signature import NUMBER_LIMIT, Signed
from xget_lib.signing import signature_file
from xget_lib.signing.keys import is_signed, read_public_keys
from xget_lib.snapshot.whole import take_whole


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "tree")


def sign(keys: KeyFiles, *arguments: str | Path) -> int:
    return cli.main(["sign", "--key", str(keys.private), *map(str, arguments)])


def test_it_signs_what_is_there(keys: KeyFiles, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign(keys, tree) == 0
    (signed,) = signature_file.read(bytes(tmp_path / "xget.sig"))
    manifest = take_whole(bytes(tree), one_file_system=False, owner_names=True)
    assert signed.generation == manifest.generation
    assert is_signed(signed, read_public_keys("trust", str(keys.public)))
    assert capsys.readouterr().out == (
        f"signed generation {manifest.generation.hex()[:16]}: 4 files, 195.3 KiB, serial {signed.signature.serial},"
        f" in {tmp_path}/xget.sig\n"
    )


def test_each_signature_has_a_higher_serial(keys: KeyFiles, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign(keys, "--json", "--serial", "7", tree) == sign(keys, "--json", tree) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["serial"] == 7 and second["serial"] == second["time"] > 1_700_000_000
    assert (second["files"], second["signature"]) == (4, str(tree.parent / "xget.sig"))
    write(tree / "top", b"changed\n")
    for serial in (7, second["serial"]):
        assert sign(keys, "--serial", str(serial), tree) == 2
        assert f"xget.sig has serial {second['serial']} (give a higher one)" in capsys.readouterr().err
    assert sign(keys, "--serial", str(second["serial"] + 1), "-q", tree) == 0
    assert capsys.readouterr().out == ""


def test_what_another_signs_meanwhile_has_a_lower_serial(
    keys: KeyFiles, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bytes(tmp_path / "xget.sig")
    others = [keys.sign(bytes(32), 1 << 40), keys.sign(b"\xff" * 32, (1 << 40) + 1)]
    really_read, really_add = take_whole, signature_file.add

    def slow_read(root: bytes, *, one_file_system: bool, owner_names: bool, **more: Any) -> Manifest:
        really_add(path, others[0])
        return really_read(root, one_file_system=one_file_system, owner_names=owner_names, **more)

    def slow_add(file: bytes, signed: Signed) -> bool:
        really_add(path, others[1])
        return really_add(file, signed)

    monkeypatch.setattr(command, "take_whole", slow_read)
    monkeypatch.setattr(signature_file, "add", slow_add)
    assert sign(keys, tree) == 0
    there = signature_file.read(path)
    assert [each.signature.serial for each in there] == [(1 << 40) + 2, (1 << 40) + 1, 1 << 40]
    assert sign(keys, "--serial", str((1 << 40) + 2), tree) == 2
    assert "give a higher one" in capsys.readouterr().err


def test_after_the_last_serial_nothing_is_signed(
    keys: KeyFiles, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signature_file.add(bytes(tmp_path / "xget.sig"), last := keys.sign(bytes(32), NUMBER_LIMIT))
    assert sign(keys, tree) == 1
    assert f"serial {NUMBER_LIMIT}: no higher one can be given" in capsys.readouterr().err
    assert signature_file.read(bytes(tmp_path / "xget.sig")) == [last]


def test_who_always_comes_too_late_does_not_try_for_ever(
    keys: KeyFiles, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signature_file, "add", lambda path, signed: False)
    assert sign(keys, tree) == 1
    assert "xget.sig: others sign all the time" in capsys.readouterr().err


def test_the_options_that_change_what_is_served_change_what_is_signed(
    keys: KeyFiles, tree: Path, tmp_path: Path
) -> None:
    file = tmp_path / "elsewhere"
    assert sign(keys, "--signature", file, tree) == sign(keys, "--signature", file, "-o", tree) == 0
    assert not (tmp_path / "xget.sig").exists()
    without_names, with_names = signature_file.read(bytes(file))
    assert without_names.generation != with_names.generation


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["sign"], "missing <path> to sign (see --help)"),
        (["sign", "a", "b"], "unexpected argument b (sign takes one)"),
        (["sign", "a"], "sign needs a private key (--key FILE; openssl genpkey -algorithm ed25519 makes one)"),
        (["sign", "--serial", "0", "a"], "--serial 0: not between 1 and 4503599627370496"),
        (["--key", "k", "/srv"], "--key: has no effect for a master (only for a the command sign)"),
    ],
)
def test_a_usage_error_names_what_is_wrong(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"xget: {line.replace('a the', 'the')}\n"


def test_nothing_is_beside_the_root_directory(
    keys: KeyFiles, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "take_whole", None)  # nothing is read
    assert sign(keys, "/") == 2
    assert "nothing is beside the directory / (give --signature FILE" in capsys.readouterr().err


def test_a_signature_that_cannot_be_written_is_an_error(
    keys: KeyFiles, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(keys, "--signature", tree.parent / "nothing" / "xget.sig", tree) == 1
    assert "xget.sig: No such file or directory" in capsys.readouterr().err


def test_with_a_host_it_is_a_source_of_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = Roles(monkeypatch)
    assert cli.main(["-n", "head", "sign", "/dest"]) == 0
    assert roles.started == [("client", [b"sign"], b"/dest")]
