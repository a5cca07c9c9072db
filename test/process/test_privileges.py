"""Giving up root: what a process can do afterwards, and that it cannot go back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test.support.forked import in_child
from xget_lib.errors import UsageError
from xget_lib.process.privileges import User, give_up_root, read_everything

NOBODY = "nobody"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("secret")
    path.chmod(0o600)
    return path


@pytest.mark.root
def test_who_may_read_reads_what_is_roots_and_writes_nothing(secret: Path) -> None:
    def work() -> None:
        give_up_root(User.look_up(NOBODY), may_read=True)
        with pytest.raises(PermissionError):
            secret.read_text()
        read_everything()
        assert secret.read_text() == "secret"
        for forbidden in (lambda: secret.write_text("x"), secret.unlink, lambda: secret.chmod(0o777)):
            with pytest.raises(PermissionError):
                forbidden()

    in_child(work)


@pytest.mark.root
def test_what_was_given_up_does_not_come_back(secret: Path) -> None:
    def work() -> None:
        os.setgroups([0, 4])
        user = User.look_up(NOBODY)
        give_up_root(user, may_read=False)
        assert set(os.getgroups()) == set(os.getgrouplist(user.name, user.gid))
        for again in (read_everything, lambda: os.setuid(0), lambda: os.setgroups([0]), secret.read_text):
            with pytest.raises(PermissionError):
                again()
        assert os.spawnvp(os.P_WAIT, "cat", ["cat", str(secret)]) != 0

    in_child(work)


@pytest.mark.root
@pytest.mark.parametrize(("name", "why"), [("root", "is root"), ("no such user", "no such user"), ("\0", "no such")])
def test_a_user_to_become_is_another_one_that_exists(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        User.look_up(name)


def test_only_root_can_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="only root can become another user"):
        User.look_up(NOBODY)
