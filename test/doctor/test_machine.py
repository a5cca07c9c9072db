"""What a machine gives to a run: descriptors, the user, TCP."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from test.support.configured import configured
from xget_lib import version
from xget_lib.doctor import machine
from xget_lib.fs import syscalls


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /proc/sys."""
    directory = tmp_path / "net/ipv4"
    directory.mkdir(parents=True)
    monkeypatch.setattr(machine, "SETTINGS", tmp_path)
    for name, value in (
        ("tcp_congestion_control", "cubic"),
        ("tcp_rmem", "4096\t131072\t33554432"),
        ("tcp_wmem", "4096\t16384\t4194304"),
        ("tcp_moderate_rcvbuf", "1"),
    ):
        (directory / name).write_text(f"{value}\n")
    return directory


@pytest.mark.parametrize(
    ("about", "hard", "result", "words"),
    [
        ("client", 127, "problem", "a process may have 127, and a client needs 128"),
        ("client", 128, "note", "enough for 32 connections"),
        ("master", 103, "problem", "a master needs 104"),
        ("client", 16384, "ok", "a process may have 16384"),
        ("client", resource.RLIM_INFINITY, "ok", "no limit"),
    ],
)
def test_descriptors(monkeypatch: pytest.MonkeyPatch, about: str, hard: int, result: str, words: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, hard))
    found = machine.descriptors(configured(workers=4), about)
    assert found.result == result
    assert words in found.what


def test_who_is_not_root_is_told_what_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert "files will belong to nobody" in machine.user("client").what
    assert "what only root may read is not served" in machine.user("master").what
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    assert machine.user("client").what.startswith("4000000000, not root")


def test_root_of_a_user_namespace_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "sees_all_users", lambda: False)
    assert machine.user("client").result == "note"
    monkeypatch.setattr(machine, "sees_all_users", lambda: True)
    assert machine.user("client").what == "root"


def test_tcp_as_it_usually_is(settings: Path) -> None:
    assert machine.congestion().what == "cubic"
    assert machine.buffers().what == "tcp_rmem up to 32 MiB, tcp_wmem up to 4 MiB"
    assert machine.receive_buffer() == 33554432


def test_small_buffers_are_noted_by_name(settings: Path) -> None:
    (settings / "tcp_rmem").write_text("4096 131072 1048576\n")
    found = machine.buffers()
    assert (found.result, found.advice) == ("note", "raise the third number of net.ipv4.tcp_rmem")
    (settings / "tcp_moderate_rcvbuf").write_text("0\n")
    assert "does not tune" in machine.buffers().what


def test_congestion_control_that_gives_way_is_noted(settings: Path) -> None:
    (settings / "tcp_congestion_control").write_text("lp\n")
    assert machine.congestion().result == "note"


def test_without_proc_nothing_is_known_of_tcp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "SETTINGS", tmp_path)
    assert [machine.congestion().result, machine.buffers().result] == ["note", "note"]
    assert machine.receive_buffer() is None


def test_a_kernel_without_landlock_matters_to_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(syscalls, "landlock_version", missing)
    assert [machine.landlock(about).result for about in ("client", "master")] == ["note", "ok"]
    monkeypatch.setattr(syscalls, "landlock_version", lambda: 4)
    assert machine.landlock("client").what == "version 4"


def test_a_program_that_was_replaced_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.program().what.startswith(f"XGet {version.RUNNING}, Python 3.")
    monkeypatch.setattr(version, "replaced_by", lambda: "9.9.9")
    assert "9.9.9 is on disk by now" in machine.program().what
