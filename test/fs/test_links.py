"""The directories and links on the way to a path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xget_lib.fs.links import on_the_way


def test_each_directory_and_link_on_the_way_is_named(tmp_path: Path) -> None:
    base = os.path.realpath(bytes(tmp_path))
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("other/../real")
    (tmp_path / "other").mkdir()
    (tmp_path / "absolute").symlink_to(tmp_path / "link")
    found = [(directory, name) for directory, name in on_the_way(base + b"/absolute/below") if directory >= base]
    assert found == [
        (base, b"absolute"),
        (base, b"link"),
        (base, b"other"),
        (base, b"real"),
        (base + b"/real", b"below"),
    ]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        list(on_the_way(bytes(tmp_path / "one")))
