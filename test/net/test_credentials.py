"""What a process proves and asks for, by its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from test.support.nodes import configured
from xget_lib.errors import UsageError
from xget_lib.net.credentials import credentials_of
from xget_lib.process import libmunge

KEY = "a key of the whole site"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text(KEY)
    return str(file)


def test_nothing_is_asked_for_if_no_method_is_named() -> None:
    assert not credentials_of(configured(1)).required


def test_a_secret_is_read_here_or_comes_later(secret: str) -> None:
    config = configured(1, auth=("secret",), secret=secret)
    made = credentials_of(config)
    assert (made.required, made.keys, made.source, made.methods) == (True, (KEY.encode(),), secret, ("secret",))
    assert made.munge is None
    later = credentials_of(config, with_keys=False)
    assert (later.required, later.keys, later.source) == (True, (), secret)


def test_munge_needs_its_library_and_leaves_a_secret_alone(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libmunge, "_load", object)
    made = credentials_of(configured(1, auth=("munge",), secret="/no such file", munge_users=(5,)))
    assert (made.required, made.keys, made.source, made.methods) == (True, (), "", ("munge",))
    assert made.munge is not None and made.munge.allows(5) and not made.munge.allows(0)
    both = credentials_of(configured(1, auth=("munge", "secret"), secret=secret))
    assert both.munge is not None and both.keys == (KEY.encode(),)
    monkeypatch.undo()
    monkeypatch.setattr(libmunge, "_LIBRARY", "libnone.so.2")
    with pytest.raises(UsageError, match=r"^--auth munge: libnone.so.2: .* \(apt-get install libmunge2 munge\)$"):
        credentials_of(configured(1, auth=("munge",)))
