"""`xget.py reload`: what it prints for each answer of a master, and its exit status."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from xget_lib import cli
from xget_lib.control import reload as command
from xget_lib.process.local_processes import CHILD, MASTER, LocalProcess
from xget_lib.process.runtime_directory import Place

SERVED = {"generation": "ab" * 32, "files": 2, "bytes": 2048, "new": True, "omitted": [], "problem": None, "exit": 0}


def reload(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and what the master was asked."""
    asked: dict[str, Any] = {}

    def request(port: int, command: dict[str, Any], seconds: float, on_wait: Any, connect: Any) -> dict[str, Any]:
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


def running(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """These masters run here, and a client."""
    place = Place("/run/xget/x", "x", 0, b"")
    found = [LocalProcess(place, MASTER, port + 1, port, f"/srv/{port}", "") for port in ports]
    found.append(LocalProcess(place, CHILD, 1, 4000, "/d", "head:20004"))
    monkeypatch.setattr(command, "local_processes", lambda: iter(found))


def reached(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, int | None, bool]:
    """The exit status, and the port that is asked, if one is, and whether by the socket of a process that was found."""
    asked: list[tuple[int, bool]] = []

    def request(port: int, command: dict[str, Any], seconds: float, on_wait: Any, connect: Any) -> dict[str, Any]:
        asked.append((port, connect is not None))
        return SERVED

    monkeypatch.setattr(command, "control_socket", SimpleNamespace(request=request))
    status = cli.main(["reload", "--config=", *arguments])
    return (status, *asked[0]) if asked else (status, None, False)


def test_without_a_port_the_only_master_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running(monkeypatch, 7)
    assert reached(monkeypatch) == (0, 7, True)
    assert reached(monkeypatch, "-p", "8") == (0, 8, False)
    running(monkeypatch, 7, 20004)
    assert reached(monkeypatch) == (0, 20004, False)
    running(monkeypatch)
    assert reached(monkeypatch) == (0, 20004, False)
    capsys.readouterr()
    running(monkeypatch, 7, 8)
    assert reached(monkeypatch) == (2, None, False)
    assert capsys.readouterr().err.splitlines() == [
        "xget: master of /srv/7, process 8, port 7",
        "xget: master of /srv/8, process 9, port 8",
        "xget: 2 masters run here, none of them on port 20004 (choose one with -p)",
    ]


def test_a_port_in_the_file_counts_as_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    running(monkeypatch, 7)
    (tmp_path / "xget.toml").write_text("port = 9\n")
    assert reached(monkeypatch, "--config", str(tmp_path / "xget.toml")) == (0, 9, False)
