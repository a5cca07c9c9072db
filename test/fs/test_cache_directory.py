"""Where data that may be lost is kept, for each kind of user."""

from __future__ import annotations

import os
import pwd

import pytest

from xget_lib.fs.cache_directory import usual_cache_directory


def test_it_is_the_usual_place_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert usual_cache_directory() == "/cache/xget"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/a")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert usual_cache_directory() == "/home/a/.cache/xget"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert usual_cache_directory() == "/var/cache/xget"


def test_a_user_without_a_home_has_the_place_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a directory named ~ in the current one."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert usual_cache_directory() == "/var/cache/xget"
