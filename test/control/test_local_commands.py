"""`status` and `stop` of the processes of this machine: what they print, and what their exit status says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from test.control.test_status import configured
from test.report.test_distribution_summary import GENERATION
from xget_lib.config import Config
from xget_lib.control import local_status, stop
from xget_lib.errors import CommandFailed, Exit, LinkLost, NotAdmitted, NothingRuns, UsageError
from xget_lib.process.local_processes import CHILD, DOWNLOAD, MASTER, LocalProcess
from xget_lib.process.runtime_directory import Place

HELD = {"generation": GENERATION, "held": 5, "chunks": 10, "seconds": 7}
MASTER_STATUS = {**HELD, "role": "master", "pid": 1, "distribution": {"states": {"complete": 2, "downloading": 1}}}


class Processes:
    """Stands for those of this machine: what each answers, or raises."""

    def __init__(self) -> None:
        self.found: list[LocalProcess] = []
        self.answers: dict[int, Any] = {}
        self.by_port: dict[int, Any] = {}

    def add(self, role: str, pid: int, answer: Any) -> LocalProcess:
        place = Place(f"/run/xget/{pid}", "x", 0, b"")
        process = LocalProcess(place, role, pid, 4000 + pid, f"/d{pid}", "" if role == MASTER else "head:20004")
        self.found.append(process)
        self.answers[pid] = answer
        return process

    def give(self, process: LocalProcess) -> Any:
        answer = self.answers[process.pid]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    processes = Processes()
    for module in (local_status, stop):
        monkeypatch.setattr(module, "local_processes", lambda: iter(processes.found))
    monkeypatch.setattr(LocalProcess, "ask", lambda process, command, seconds: processes.give(process))
    monkeypatch.setattr(LocalProcess, "stop", lambda process, seconds: processes.give(process))

    def by_port(host: str, port: int, *rest: object) -> Any:
        if isinstance(processes.by_port[port], Exception):
            raise processes.by_port[port]
        return processes.by_port[port]

    monkeypatch.setattr(local_status, "read_status", by_port)
    return processes


def here(**given: Any) -> Config:
    return configured(**{"host": None, **given})


def test_each_process_is_a_row(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    processes.add(MASTER, 1, MASTER_STATUS)
    processes.add(MASTER, 2, {**HELD, "generation": None})
    processes.add(MASTER, 3, {**MASTER_STATUS, "problem": "x"})
    processes.add(DOWNLOAD, 4, {**HELD, "role": "download"})
    processes.add(DOWNLOAD, 5, {**HELD, "role": "download", "generation": None})
    processes.add(CHILD, 6, {**HELD, "role": "child", "ends_in": 240.0})
    processes.add(CHILD, 7, {**HELD, "role": "follower", "ends_in": None, "chunks": 0, "held": 0})
    processes.add(MASTER, 8, {**HELD, "role": "master"})
    processes.add(CHILD, 9, {**HELD, "role": "child", "outdated": True})
    assert local_status.run(here(), []) == Exit.OK
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in shown[1:]] == [*["master"] * 3, *["download"] * 2, "child", "follower", "master", "child"]
    states = [" ".join(line[4:]) for line in shown[1:]]
    assert "3 nodes, 2 complete /d1" in states[0]
    assert "scanning" in states[1]
    assert "PROBLEM: see" in states[2]
    assert "has 50 %" in states[3] and states[3].endswith("/d4 from head:20004")
    assert "waits for the master" in states[4]
    assert "serves 50 %, ends in 4 min" in states[5]
    assert "serves 100 % /d7" in states[6]
    assert "serving" in states[7]
    assert "outdated, serves 50 % /d9" in states[8]


def test_the_words_choose(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    processes.add(MASTER, 1, MASTER_STATUS)
    processes.add(CHILD, 2, {**HELD, "role": "child"})
    assert local_status.run(here(json=True), ["4002"]) == Exit.OK
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {**HELD, "role": "child", "pid": 2, "port": 4002, "path": "/d2", "master": "head:20004"}
    with pytest.raises(NothingRuns, match="download: no such xget runs") as nothing:
        local_status.run(here(), ["download"])
    assert nothing.value.exit_status == Exit.UNREACHABLE


def test_a_process_that_does_not_answer_is_named_and_the_status_is_1(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    processes.add(CHILD, 2, TimeoutError())
    processes.add(MASTER, 1, MASTER_STATUS)
    processes.add(CHILD, 3, None)
    processes.add(CHILD, 4, ConnectionResetError())
    processes.add(CHILD, 5, OSError(24, "Too many open files"))
    assert local_status.run(here(json=True), []) == Exit.FAILED
    printed = capsys.readouterr()
    assert "no answer from process 2, 5" in printed.err
    shown = [json.loads(line) for line in printed.out.splitlines()]
    assert [(each["pid"], each.get("problem")) for each in shown] == [
        (2, "does not answer (is it stopped?)"),
        (1, None),
        (5, "Too many open files"),
    ]


def test_where_this_user_may_not_ask_the_port_is_asked(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    for pid in (1, 2, 3):
        processes.add(MASTER, pid, PermissionError())
    processes.by_port = {
        4001: MASTER_STATUS,
        4002: NotAdmitted("localhost:4002", "it asks for a secret"),
        4003: {**MASTER_STATUS, "pid": 99},
    }
    assert local_status.run(here(json=True), []) == Exit.OK
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["pid"], each.get("problem")) for each in shown] == [(1, None), (2, "it asks for a secret")]
    processes.by_port[4001] = LinkLost("localhost:4001", "it does not answer")
    with pytest.raises(CommandFailed, match="no answer from process 1"):
        local_status.run(here(), [])


def test_with_details_each_process_is_a_block(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    processes.add(CHILD, 2, {**HELD, "role": "child"})
    processes.add(CHILD, 3, TimeoutError())
    with pytest.raises(CommandFailed):
        local_status.run(here(verbose=True), [])
    shown = capsys.readouterr().out.split("\n\n")
    assert shown[0].startswith("child of /d2, process 2, up 7 s")
    assert shown[1].startswith("child 3 4003 does not answer")


def test_one_process_is_stopped_and_named(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    processes.add(CHILD, 2, True)
    assert stop.run(here(), []) == Exit.OK
    assert capsys.readouterr().out == "stopped: child of /d2, process 2, port 4002\n"
    assert stop.run(here(quiet=True), []) == Exit.OK
    assert stop.run(here(json=True), []) == Exit.OK
    facts = {"role": "child", "pid": 2, "port": 4002, "path": "/d2", "stopped": True}
    assert json.loads(capsys.readouterr().out) == facts


def test_of_several_none_is_stopped_unless_all_are_meant(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    processes.add(CHILD, 2, True)
    processes.add(CHILD, 3, True)
    with pytest.raises(UsageError, match="2 processes are meant"):
        stop.run(here(), [])
    assert "child of /d2, process 2, port 4002" in capsys.readouterr().err
    assert stop.run(here(all=True), []) == Exit.OK
    assert stop.run(here(), ["/d3"]) == Exit.OK
    assert capsys.readouterr().out.count("stopped: ") == 3
    with pytest.raises(NothingRuns):
        stop.run(here(), ["/d4"])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (False, "has not ended in 60 s"),
        (TimeoutError(), "does not answer"),
        (PermissionError(), "is another user's"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (ConnectionResetError(), None),
        (FileNotFoundError(), None),
    ],
)
def test_what_does_not_stop_is_an_error(processes: Processes, answer: Any, why: str | None) -> None:
    processes.add(CHILD, 2, answer)
    if why is None:
        assert stop.run(here(), []) == Exit.OK, "it has ended meanwhile"
    else:
        with pytest.raises(CommandFailed, match=f"stop: child of /d2, process 2, port 4002: {why}"):
            stop.run(here(), [])


def test_nothing_is_stopped_on_another_machine(processes: Processes) -> None:
    with pytest.raises(UsageError, match="stop works on this machine only"):
        stop.run(configured(), [])
