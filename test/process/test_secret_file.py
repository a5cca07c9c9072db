"""The file with the keys: what is a key, and who may read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xget_lib.errors import UsageError
from xget_lib.ninep.auth import Credentials
from xget_lib.process.secret_file import SHORTEST, read_again, read_keys

FIRST, SECOND = "the first key of all", "the second key of all"


def write(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_each_line_is_a_key_but_blank_ones_and_comments(tmp_path: Path) -> None:
    path = write(tmp_path / "secret", f"# new\n\n  {FIRST}  \n#{SECOND}\n{SECOND}\n")
    assert read_keys(path) == (FIRST.encode(), SECOND.encode())


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_file_that_others_cannot_read_is_accepted(tmp_path: Path, mode: int) -> None:
    """systemd has credentials with 0440 for services with a user."""
    assert read_keys(write(tmp_path / "secret", FIRST, mode)) == (FIRST.encode(),)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o620])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "secret", FIRST, mode)
    with pytest.raises(UsageError, match=f"--secret {path}: others can read or change it \\(chmod 600\\)"):
        read_keys(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\n# nothing\n", "contains no key"),
        (f"{FIRST}\n{'x' * (SHORTEST - 1)}\n", "the key in line 2 has fewer than 16 characters"),
        ("x" * 20_000, "more than 16384 bytes"),
        (f"{FIRST}\n" * 17, "more than 16 keys"),
    ],
)
def test_a_file_that_is_no_secret_is_refused_without_its_content(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        read_keys(write(tmp_path / "secret", text))
    assert why in str(error.value) and "xxxx" not in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, why in [
        ("none", "No such file or directory"),
        ("", "Is a directory"),
        ("fifo", "not a regular file"),
    ]:
        with pytest.raises(UsageError, match=why):
            read_keys(str(tmp_path / name))


@pytest.mark.root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "secret", FIRST)
    os.chown(path, 65534, -1)
    with pytest.raises(UsageError, match="belongs to another user"):
        read_keys(path)


def test_the_file_is_read_again_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    credentials = Credentials(True, read_keys(write(path, FIRST)), str(path))
    assert not read_again(credentials)
    write(path, f"{SECOND}\n{FIRST}\n")
    assert read_again(credentials) and credentials.keys == (SECOND.encode(), FIRST.encode())
    write(path, "short")
    with pytest.raises(UsageError):
        read_again(credentials)
    assert credentials.keys == (SECOND.encode(), FIRST.encode())
    assert not read_again(Credentials()) and not read_again(Credentials(True, methods=("munge",)))
