"""Files in the name of a user: the kernel allows what he may do, and afterwards everything is as before."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from xget_lib.fs import syscalls
from xget_lib.process.acting_as import acting_as, why_not_as_root
from xget_lib.process.privileges import User

pytestmark = pytest.mark.root

USER = User("nobody", 65534, 65534)


def identity() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), sorted(os.getgroups()), syscalls.parent_death_signal()


def test_who_acts_as_a_user_may_do_no_more_than_he_and_is_root_again_afterwards(tmp_path: Path) -> None:
    of_root = tmp_path / "of-root"
    of_root.touch(0o600)
    former = syscalls.parent_death_signal()
    syscalls.set_parent_death_signal(signal.SIGTERM)
    try:
        before = identity()
        with pytest.raises(PermissionError), acting_as(USER):
            assert os.geteuid() == USER.uid and 0 not in os.getgroups()
            of_root.read_bytes()
        assert identity() == before
        of_root.read_bytes()
    finally:
        syscalls.set_parent_death_signal(former)


def test_root_makes_nothing_where_others_can_change_what_the_path_leads_to(tmp_path: Path) -> None:
    assert why_not_as_root(str(tmp_path / "log")) == ""
    (tmp_path / "of-user" / "deep").mkdir(parents=True)
    os.chown(tmp_path / "of-user", USER.uid, -1)
    assert why_not_as_root(str(tmp_path / "of-user" / "deep" / "log")).endswith("of-user belongs to another user")
