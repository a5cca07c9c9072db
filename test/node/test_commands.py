"""A client takes commands of its own machine, from begin to end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import get_hub

from test.support.processes import PATIENCE
from xget_lib.errors import Failed
from xget_lib.node import commands
from xget_lib.node.commands import NodeCommands
from xget_lib.process import runtime_directory
from xget_lib.process.local_processes import CHILD, DOWNLOAD, LocalProcess, local_processes


class Child:
    port = 4711
    role = DOWNLOAD

    def status(self) -> dict[str, Any]:
        return {"role": self.role, "path": "/dest", "master": "head:20004"}


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as name:
        for constant in ("ROOTS", "_USERS"):
            monkeypatch.setattr(runtime_directory, constant, str(Path(name) / constant))
        monkeypatch.setattr(runtime_directory, "_SHARED", name)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield


def found() -> LocalProcess:
    (only,) = local_processes()
    return only


def ask(command: Any) -> Any:
    """What this process answers, while its loop goes on."""
    with gevent.Timeout(PATIENCE):
        return get_hub().threadpool.spawn(found().ask, command, PATIENCE).get()


def test_it_says_what_it_does_and_others_know_its_role() -> None:
    child = Child()
    taking = NodeCommands(child, lambda: None)  # type: ignore[arg-type]  # what it needs of a child
    try:
        assert (found().role, found().port, found().master) == (DOWNLOAD, 4711, "head:20004")
        assert ask({"command": "status"}) == child.status()
        assert "unknown command" in ask({"command": "dance"})["problem"]
        child.role = CHILD
        taking.role_changed()
        assert found().role == CHILD
    finally:
        taking.close()
    assert list(local_processes()) == []


def test_it_is_told_to_stop() -> None:
    told: list[bool] = []
    taking = NodeCommands(Child(), lambda: told.append(True))  # type: ignore[arg-type]  # what it needs of a child
    assert ask({"command": "stop"}) == {"stopping": True}
    assert told == [True]
    taking.close()


def test_where_there_is_no_directory_for_its_socket_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise Failed("no directory", "for sockets")

    monkeypatch.setattr(commands, "listen_as_client", refuse)
    taking = NodeCommands(Child(), lambda: None)  # type: ignore[arg-type]  # what it needs of a child
    taking.role_changed()
    taking.close()
