"""The processes of this machine: how they find each other, and how one is stopped."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from test.support.processes import PATIENCE
from test.support.somebody import NOBODY
from xget_lib.errors import Failed
from xget_lib.process import local_processes, runtime_directory
from xget_lib.process.local_processes import (
    CHILD,
    DOWNLOAD,
    MASTER,
    LocalProcess,
    listen_as_client,
    listen_as_master,
    note_of,
)
from xget_lib.process.runtime_directory import Listening, listen


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Instead of /run and /tmp. Paths of sockets must be short."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        monkeypatch.setattr(runtime_directory, "ROOTS", f"{name}/run")
        monkeypatch.setattr(runtime_directory, "_USERS", f"{name}/users")
        monkeypatch.setattr(runtime_directory, "_SHARED", name)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(name)


def test_two_of_a_process_cannot_have_one_name() -> None:
    with (
        closing(listen_as_client(4000, "/dest", "head:20004")),
        pytest.raises(Failed, match="another process has this name"),
    ):
        listen_as_client(4000, "/dest", "head:20004")


def found() -> list[tuple[str, int, int, str, str]]:
    return [(p.role, p.pid, p.port, p.path, p.master) for p in local_processes.local_processes()]


def test_masters_and_clients_are_found_by_what_they_note() -> None:
    master, first = listen_as_master(20004, "/srv")
    second, is_first = listen_as_master(20004, "/other")
    client = listen_as_client(4000, "/dest", "head:20004")
    with closing(master), closing(second), closing(client):
        assert (first, is_first) == (True, False)
        assert sorted(found()) == [
            (DOWNLOAD, os.getpid(), 4000, "/dest", "head:20004"),
            (MASTER, os.getpid(), 20004, "/other", ""),
            (MASTER, os.getpid(), 20004, "/srv", ""),
        ]
        client.set_note(note_of(CHILD, 4000, "/dest", "head:20004"))
        assert (CHILD, os.getpid(), 4000, "/dest", "head:20004") in found()
    assert found() == []


@pytest.mark.parametrize("note", [b"7", b"{}", b"[" * 500, b"\xff", b'{"role": "master", "pid": "x"}', b"1 2\n"])
def test_a_note_that_is_none_is_passed_over(note: bytes) -> None:
    with closing(listen("client-1", note) or pytest.fail("taken")):
        assert found() == []


@pytest.mark.parametrize("path", ["/" + "x" * 5000, "/" + '"' * 5000, "/" + "\\u00e4" * 3000, "/\u00e4" * 3000])
def test_of_a_long_path_the_note_has_the_end(path: str) -> None:
    note = json.loads(note_of(CHILD, 1, path, "head"))
    assert len(note_of(CHILD, 1, path, "head")) <= runtime_directory.NOTE_LIMIT
    assert note["path"].startswith("…") and path.endswith(note["path"][1:])


def process(listening: Listening) -> LocalProcess:
    assert listening.sock.getsockname()
    (only,) = local_processes.local_processes()
    return only


def answers(listening: Listening, *lines: bytes, close: threading.Event | None = None) -> threading.Thread:
    """A process that answers one command so, and ends then, or when it is told."""

    def answer() -> None:
        sock, _ = listening.sock.accept()
        with sock:
            sock.recv(1000)
            for line in lines:
                sock.sendall(line)
            if close is not None:
                close.wait(PATIENCE)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_a_process_is_asked() -> None:
    with closing(listen_as_client(4000, "/dest", "head:20004")) as listening:
        thread = answers(listening, b'{"role": "child"}\n')
        assert process(listening).ask({"command": "status"}, PATIENCE) == {"role": "child"}
        thread.join(PATIENCE)


def test_a_process_has_stopped_when_its_connection_ends() -> None:
    ended = threading.Event()
    with closing(listen_as_client(4000, "/dest", "head:20004")) as listening:
        thread = answers(listening, b'{"stopping": true}\n', close=ended)
        assert not process(listening).stop(0.05)
        ended.set()
        thread.join(PATIENCE)
        thread = answers(listening, b'{"stopping": true}\n')
        assert process(listening).stop(PATIENCE)
        thread.join(PATIENCE)
        thread = answers(listening)
        assert process(listening).stop(PATIENCE), "it ended before it answered"
        thread.join(PATIENCE)


def test_a_process_that_does_not_answer_is_not_waited_for() -> None:
    with closing(listen_as_client(4000, "/dest", "head:20004")) as listening, pytest.raises(TimeoutError):
        process(listening).ask({"command": "status"}, 0.01)


@pytest.mark.root
def test_root_finds_the_processes_of_other_users_where_the_directory_is_theirs(base: Path) -> None:
    def make(directory: Path, port: int) -> None:
        directory.mkdir(mode=0o700)
        path = str(directory / runtime_directory._in_this_namespace(f"client-{port}"))
        (directory / f"{path}.note").write_bytes(note_of(CHILD, port, "/dest"))
        # No process of that user lives as long as this test: the lock is ours.
        made.append(runtime_directory._lock(path))

    made: list[int | None] = []
    (base / "users" / str(NOBODY)).mkdir(parents=True)
    for number, directory in enumerate((base / f"xget-{NOBODY}", base / f"users/{NOBODY}/xget", base / "xget-4711")):
        make(directory, 4000 + number)
        os.chown(directory, NOBODY, NOBODY)
    try:
        assert sorted(port for _, _, port, _, _ in found()) == [4000, 4001]
    finally:
        for lock in made:
            os.close(lock or -1)


@pytest.mark.root
def test_root_does_not_wait_for_what_another_user_has_made(base: Path) -> None:
    directory = base / f"xget-{NOBODY}"
    directory.mkdir(mode=0o700)
    name = runtime_directory._in_this_namespace("client-1")
    os.mkfifo(directory / f"{name}.lock")
    os.mkfifo(directory / f"{name}.note")
    os.chown(directory, NOBODY, NOBODY)
    assert found() == []
