"""Which paths others may change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.somebody import NOBODY, as_nobody
from xget_lib.fs.credentials import sees_all_users
from xget_lib.fs.exposed import exposure

OWNER = "belongs to another user"
EVERYBODY = "can be written by everybody"
GROUP = "can be written by its group"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "a/b/dest").mkdir(parents=True)
    return tmp_path / "a"


def found(path: Path) -> tuple[str, str] | None:
    where = exposure(bytes(path))
    return where and (os.fsdecode(where[0]), where[1])


def test_what_only_root_and_we_may_change_is_not_exposed(top: Path) -> None:
    for path in (top / "b/dest", top / "b/new", top / "new/b", Path("/"), Path("/usr")):
        assert found(path) is None, path


@pytest.mark.root
@pytest.mark.parametrize("at", ["", "b", "b/dest"])
def test_a_directory_of_another_user_on_the_way_is_found(top: Path, at: str) -> None:
    os.chown(top / at, NOBODY, NOBODY)
    assert found(top / "b/dest") == (str(top / at), OWNER)
    assert found(top / "b/../b/dest") == (str(top / at), OWNER) or at == "b/dest"


@pytest.mark.parametrize("at", ["", "b", "b/dest"])
def test_a_directory_in_which_others_may_write_is_found(top: Path, at: str) -> None:
    (top / at).chmod(0o757)
    assert found(top / "b/dest") == (str(top / at), EVERYBODY)


@pytest.mark.root
def test_the_group_counts_unless_it_is_that_of_root(top: Path) -> None:
    (top / "b").chmod(0o775)
    assert found(top / "b/dest") is None
    os.chown(top / "b", 0, NOBODY)
    assert found(top / "b/dest") == (str(top / "b"), GROUP)


@pytest.mark.root
def test_a_sticky_directory_is_accepted_as_long_as_nobody_else_has_a_name_at_its_end(top: Path) -> None:
    (top / "b").chmod(0o1777)
    assert found(top / "b/dest") is None
    assert found(top / "b/new") is None
    assert found(top / "b") is None
    (top / "b/his").touch()
    os.chown(top / "b/his", NOBODY, NOBODY)
    assert found(top / "b/dest") is None
    assert found(top / "b") == (str(top / "b"), EVERYBODY)


def test_links_are_followed(top: Path, tmp_path: Path) -> None:
    (tmp_path / "absolute").symlink_to(top / "b")
    (top / "relative").symlink_to("../a/b/../b/dest")
    assert found(tmp_path / "absolute/dest") is None
    assert found(top / "relative") is None
    (top / "b/dest").chmod(0o757)
    assert found(tmp_path / "absolute/dest") == found(top / "relative") == (str(top / "b/dest"), EVERYBODY)
    (top / "loop").symlink_to("loop")
    assert found(top / "loop") is not None


@pytest.mark.root
def test_a_link_of_another_user_is_found(top: Path, open_to_all: Path) -> None:
    open_to_all.chmod(0o1777)
    as_nobody(lambda: (open_to_all / "link").symlink_to(top / "b"))
    assert found(open_to_all / "link/dest") == (str(open_to_all / "link"), OWNER)


def test_outside_of_a_user_namespace_every_user_is_seen() -> None:
    with open("/proc/self/uid_map") as mapped:
        assert sees_all_users() == (mapped.read().split() == ["0", "0", "4294967295"])
