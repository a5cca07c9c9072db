"""What a process proves and asks for, by its options: what is read before it forks."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.support.nodes import configured
from xget_lib.errors import UsageError
from xget_lib.process import libmunge
from xget_lib.process.credentials import read_credentials

KEY = "a key of the whole site"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text(KEY)
    return str(file)


def test_nothing_is_asked_for_if_no_method_is_named() -> None:
    assert not read_credentials(configured(1)).required


def test_a_secret_is_read(secret: str) -> None:
    config = configured(1, auth=("secret",), secret=secret)
    made = read_credentials(config)
    assert (made.required, made.keys, made.source, made.methods) == (True, (KEY.encode(),), secret, ("secret",))


def test_munge_needs_its_library_and_leaves_a_secret_alone(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libmunge, "_load", object)
    made = read_credentials(configured(1, auth=("munge",), secret="/no such file"))
    assert (made.required, made.keys, made.source, made.methods) == (True, (), "", ("munge",))
    assert read_credentials(configured(1, auth=("munge", "secret"), secret=secret)).keys == (KEY.encode(),)
    monkeypatch.undo()
    monkeypatch.setattr(libmunge, "_LIBRARY", "libnone.so.2")
    with pytest.raises(UsageError, match=r"^--auth munge: libnone.so.2: .* \(apt-get install libmunge2 munge\)$"):
        read_credentials(configured(1, auth=("munge",)))
