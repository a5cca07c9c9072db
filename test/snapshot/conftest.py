"""Directories to take snapshots of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with every kind of entry that needs no privileges."""
    top = tmp_path / "tree"
    (top / "a" / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o711)
    (top / "a" / "large").write_bytes(os.urandom(300_000))
    (top / "a" / "none").write_bytes(b"")
    (top / "a.txt").write_bytes(b"small")
    (top / ".hidden").write_bytes(b"hidden")
    os.chmod(top / ".hidden", 0o4750)
    os.utime(top / ".hidden", ns=(0, 1_234_567_890_123_456_789))
    (top / "a" / "link").symlink_to("../../outside")
    (top / "dangling").symlink_to("/nowhere")
    os.link(top / "a" / "large", top / "a" / "also")
    os.link(top / "a" / "large", top / "z")
    Path(os.fsdecode(os.fsencode(top) + b"/not\xffutf-8\n")).write_bytes(b"odd")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (top / "to-outside").symlink_to(tmp_path / "outside")
    return top


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory that everybody may enter, in a test that does not run as root."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        was = os.geteuid()
        os.chmod(top, 0o755)
        try:
            if was == 0:
                os.chown(top, 65534, -1)
                os.seteuid(65534)
            yield top
        finally:
            os.seteuid(was)
