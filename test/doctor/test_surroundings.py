"""Configuration files, other processes of this machine, and units of systemd."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from test.support.configured import USAGE, configured
from xget_lib import config_file
from xget_lib.config_file import ConfigFile
from xget_lib.control.local_status import Answer
from xget_lib.doctor import surroundings
from xget_lib.errors import Exit
from xget_lib.process.local_processes import LocalProcess
from xget_lib.process.runtime_directory import Place


@pytest.fixture
def system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "xget.toml"
    monkeypatch.setattr(config_file, "SYSTEM_FILE", str(path))
    monkeypatch.delenv(config_file.VARIABLE, raising=False)
    return path


def configuration(given: str | None = None) -> list[tuple[str, str]]:
    file = config_file.read_if_right(given, USAGE)
    return [(found.result, found.what) for found in surroundings.configuration(file, USAGE)]


def test_without_a_file_there_is_none(system_file: Path) -> None:
    assert configuration() == [("ok", "no configuration file")]


def test_the_file_that_is_read_and_those_of_services_are_examined(system_file: Path) -> None:
    system_file.write_text("port = 7\n[client]\nhost = 'head'\n")
    instance = system_file.with_name("images.toml")
    instance.write_text("[master]\npath = '/srv'\nprot = 7\n")
    found = configuration()
    assert found[0] == ("ok", f"{system_file}, 2 settings")
    assert found[1] == ("problem", f"{instance} line 3: unknown option 'prot' (did you mean port?)")


def test_a_file_that_is_wrong_is_a_usage_error_and_no_reason_to_stop(system_file: Path) -> None:
    system_file.write_text("port = 'many'\n")
    (found,) = surroundings.configuration(config_file.read_if_right(None, USAGE), USAGE)
    assert (found.result, found.exit) == ("problem", Exit.USAGE)
    assert found.what == f"{system_file} line 1: port: 'many' is not a whole number"
    system_file.unlink()
    assert configuration(str(system_file))[0] == ("problem", f"--config {system_file}: No such file or directory")
    assert isinstance(config_file.read_if_right("", USAGE), ConfigFile)


def answer(status: dict[str, Any] | None, why: str = "", *, refused: bool = False) -> Answer:
    process = LocalProcess(cast(Place, None), "master", 77, 20004, "/srv", "")
    return Answer(process, status, why, refused)


@pytest.mark.parametrize(
    ("one", "result", "words"),
    [
        (answer({"problem": None}), "ok", "master 77 of /srv, port 20004"),
        (answer({"problem": "it is empty"}), "problem", "master 77 of /srv, port 20004: it is empty"),
        (answer({"nursery_problem": "died"}), "problem", "master 77 of /srv, port 20004: died"),
        (answer(None, "does not answer (is it stopped?)"), "problem", "does not answer (is it stopped?)"),
        (answer(None, "another secret", refused=True), "ok", "does not tell this user more"),
    ],
)
def test_processes_that_have_a_problem_or_do_not_answer(
    monkeypatch: pytest.MonkeyPatch, one: Answer, result: str, words: str
) -> None:
    monkeypatch.setattr(surroundings, "local_processes", lambda: iter([one.process]))
    monkeypatch.setattr(surroundings, "ask_all", lambda config, processes: [one])
    (found,) = surroundings.processes(configured())
    assert found.result == result
    assert words in found.what


LISTED = """\
xget-client@images.service loaded    failed   failed  XGet client
xget-master@images.service loaded    active   running XGet master
xget-follow@a.service      loaded    activating auto-restart XGet follower
xget-gone.service          not-found inactive dead    xget-gone.service
xget.slice                 loaded    active   active  XGet

"""


def test_units_that_have_failed_or_start_again_and_again() -> None:
    found = [(each.result, each.what) for each in surroundings.services_in(LISTED)]
    assert found == [
        ("problem", "xget-client@images.service: failed (failed)"),
        ("ok", "xget-master@images.service: active (running)"),
        ("problem", "xget-follow@a.service: activating (auto-restart)"),
        ("note", "xget-gone.service: wanted by something, but there is no such unit"),
    ]


def test_a_service_manager_that_hangs_or_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(surroundings, "_BOOTED", str(tmp_path / "none"))
    assert list(surroundings.services()) == []
    monkeypatch.setattr(surroundings, "_BOOTED", str(tmp_path))
    monkeypatch.setattr(surroundings, "_UNITS", ["/nonexistent/systemctl"])
    assert list(surroundings.services()) == []

    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("systemctl", 5)

    monkeypatch.setattr(subprocess, "run", hang)
    (found,) = surroundings.services()
    assert found.what == "systemctl does not answer in 5 s"
