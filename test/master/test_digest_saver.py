"""Where the digests of a directory are saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from xget_lib.master.digest_saver import cache_path


def test_each_directory_has_a_file_of_its_own_in_the_directory_given(tmp_path: Path) -> None:
    paths = {cache_path("/cache", root) for root in (b"/srv/a", b"/srv/b")}
    assert len(paths) == 2
    assert all(path.startswith(b"/cache/") for path in paths)
    (tmp_path / "link").symlink_to("/srv/a")
    assert cache_path("/cache", bytes(tmp_path / "link")) in paths


def test_the_usual_directory_is_the_users_or_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/mine")
    assert cache_path(None, b"/srv").startswith(b"/mine/xget/")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert cache_path(None, b"/srv").startswith(b"/var/cache/xget/")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/glenda")
    assert cache_path(None, b"/srv").startswith(b"/home/glenda/.cache/xget/")
