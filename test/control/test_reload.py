"""`xget.py reload`: what it prints for each answer of a master, and its exit status."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from xget_lib import cli
from xget_lib.control import reload as command

SERVED = {"generation": "ab" * 32, "files": 2, "bytes": 2048, "new": True, "omitted": [], "problem": None, "exit": 0}


def reload(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and what the master was asked."""
    asked: dict[str, Any] = {}

    def request(port: int, command: dict[str, Any], seconds: float, on_wait: Any) -> dict[str, Any]:
        asked.update(command, port=port)
        on_wait("")
        return answer

    monkeypatch.setattr(command, "control_socket", SimpleNamespace(request=request))
    return cli.main(["reload", "-p", "7", *options]), asked


def test_it_says_what_is_served(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, asked = reload(monkeypatch, {**SERVED, "omitted": ["a: still changing"]})
    assert (status, asked) == (0, {"command": "reload", "force": False, "port": 7})
    assert capsys.readouterr().out.splitlines() == [
        "new generation abababababababab: 2 files, 2.0 KiB",
        "not served: a: still changing",
    ]
    reload(monkeypatch, {**SERVED, "serial": 7})
    assert capsys.readouterr().out == "new generation abababababababab: 2 files, 2.0 KiB, signed with serial 7\n"
    reload(monkeypatch, {**SERVED, "new": False})
    assert capsys.readouterr().out == "nothing changed: generation abababababababab: 2 files, 2.0 KiB\n"
    assert reload(monkeypatch, SERVED, "--quiet", "--force")[1]["force"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("given", "status"), [(8, 8), (1, 1), (4711, 1)])
def test_a_problem_is_an_error_with_the_status_that_the_master_gives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: int, status: int
) -> None:
    assert reload(monkeypatch, {**SERVED, "problem": "it is empty now", "exit": given})[0] == status
    assert capsys.readouterr().err == "xget: reload: it is empty now\n"


def test_a_secret_that_cannot_be_changed_is_an_error_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        reload(
            monkeypatch, {**SERVED, "credentials_problem": "the secret stays as it was: --secret s: contains no key"}
        )[0]
        == 1
    )
    printed = capsys.readouterr()
    assert printed.err == "xget: reload: the secret stays as it was: --secret s: contains no key\n"
    assert printed.out.startswith("new generation ")
    both = {
        **SERVED,
        "problem": "it is empty now",
        "exit": 8,
        "credentials_problem": "the secret stays as it was: contains no key",
    }
    assert reload(monkeypatch, both)[0] == 8
    assert capsys.readouterr().err == "xget: reload: it is empty now; the secret stays as it was: contains no key\n"


def test_it_asks_the_master_of_this_machine_whatever_the_file_says_of_clients(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "xget.toml").write_text('host = "head"\n[client]\nport = 8\n')
    status, asked = reload(monkeypatch, SERVED, "--config", str(tmp_path / "xget.toml"))
    assert (status, asked["port"]) == (0, 7)
