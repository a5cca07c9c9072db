"""Where sockets are: in directories that nobody else can write to, with peers whose user the kernel names."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from test.support.cluster import ROOT
from test.support.processes import PATIENCE
from test.support.somebody import NOBODY, as_nobody
from xget_lib.errors import Failed
from xget_lib.process import runtime_directory
from xget_lib.process.runtime_directory import connect, listen, places


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Instead of /run and /tmp. Paths of sockets must be short."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setattr(runtime_directory, "ROOTS", f"{name}/run")
        monkeypatch.setattr(runtime_directory, "_SHARED", name)
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"{name}/user")
        yield Path(name)


def notes(prefix: str) -> list[bytes]:
    return [place.note for place in places(prefix)]


def sockets(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_socket()]


def mine(base: Path) -> list[Path]:
    """The directories of this user, the best first."""
    return [Path(path) for path in runtime_directory._own_directories()]


def test_one_process_has_a_name_and_others_find_it(base: Path) -> None:
    with closing(listen("name", b"known") or pytest.fail("taken")) as listening:
        assert listen("name") is None
        assert notes("na") == [b"known"]
        with connect("name", PATIENCE) as sock:
            accepted, _ = listening.sock.accept()
            with accepted:
                accepted.sendall(b"x")
                assert sock.recv(1) == b"x"
    assert notes("") == []
    with pytest.raises(FileNotFoundError):
        connect("name", PATIENCE)


def test_a_name_that_a_killed_process_left_is_free(base: Path) -> None:
    code = """
import os, sys
from xget_lib.process import runtime_directory
runtime_directory.ROOTS, runtime_directory._SHARED = sys.argv[1:]
assert runtime_directory.listen("name")
assert runtime_directory.listen("another", b"known")
os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", code, runtime_directory.ROOTS, str(base)]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -9
    directory = mine(base)[0]
    assert len(list(directory.iterdir())) == 5 and notes("") == []
    with pytest.raises(FileNotFoundError):
        connect("name", PATIENCE)
    with closing(listen("name") or pytest.fail("taken")):
        assert len(list(directory.iterdir())) == 2, "the other one is removed too"


def test_its_directory_is_for_its_owner_alone(base: Path) -> None:
    with closing(listen("name") or pytest.fail("taken")):
        (directory,) = (path for path in mine(base) if path.exists())
        status = directory.stat()
        assert (status.st_uid, status.st_mode & 0o022) == (os.geteuid(), 0)


@pytest.mark.parametrize("spoil", ["mode", "owner", "link", "file", "no parent"])
def test_a_directory_that_others_may_write_to_is_not_used(base: Path, spoil: str, tmp_path: Path) -> None:
    if spoil == "owner" and os.geteuid():
        pytest.skip("needs root")
    first, second = mine(base)[0], mine(base)[-1]
    if spoil == "link":
        first.parent.mkdir(exist_ok=True)
        first.symlink_to(tmp_path)
    elif spoil == "file":
        first.parent.mkdir(exist_ok=True)
        first.touch()
    elif spoil != "no parent":
        first.mkdir(parents=True)
        first.chmod(0o777 if spoil == "mode" else 0o755)
        os.chown(first, NOBODY if spoil == "owner" else -1, -1)
    else:
        runtime_directory.ROOTS = f"{base}/not there/run"
    with closing(listen("name") or pytest.fail("taken")):
        assert len(sockets(second)) == 1
        with connect("name", PATIENCE):
            pass


def test_without_any_directory_it_is_said_what_is_wrong(base: Path) -> None:
    for directory in mine(base):
        directory.parent.mkdir(exist_ok=True)
        directory.touch()
    runtime_directory._SHARED = f"{base}/not there"
    with pytest.raises(Failed, match=r"no directory for the sockets of servers: .*: .*; .*: .*; .*: "):
        listen("name")


@pytest.mark.root
def test_a_process_of_another_user_is_not_trusted(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base.chmod(0o777)
    with closing(listen("name") or pytest.fail("taken")):
        (path,) = sockets(mine(base)[0])
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(PATIENCE))
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.bind(f"{base}/his")
                sock.listen()
                os.write(writing, b"x")
                accepted, _ = sock.accept()
                accepted.recv(1)
                os._exit(0)
        path.unlink()
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        (base / "his").rename(path)
        with pytest.raises(PermissionError):
            connect("name", PATIENCE)
        assert os.waitpid(pid, 0)[1] == 0


def test_a_full_backlog_is_tried_again(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says EAGAIN at once."""
    listening = listen("busy")
    assert listening is not None
    with closing(listening), ExitStack() as waiting:
        listening.sock.listen(0)
        waiting.enter_context(connect("busy", PATIENCE))  # and the backlog is full
        with pytest.raises(BlockingIOError):
            connect("busy", 0)
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            waiting.enter_context(listening.sock.accept()[0])

        monkeypatch.setattr("xget_lib.process.runtime_directory.time.sleep", pause)
        waiting.enter_context(connect("busy", PATIENCE))
        assert pauses


@pytest.mark.root
def test_who_squats_all_names_that_are_known_before_is_evaded_and_the_process_is_found(base: Path) -> None:
    """Both directories are his, with names that he has locked, and sockets that say nothing."""
    base.chmod(0o1777)
    runtime_directory.ROOTS = f"{base}/not there/run"
    shared = mine(base)[-1]

    def squat() -> None:
        for directory in (shared, Path(f"{shared}-1")):
            directory.mkdir()
            path = runtime_directory._path(str(directory), "name")
            Path(f"{path}.lock").touch()
            Path(f"{path}.note").write_bytes(b"his")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.bind(path)

    as_nobody(squat)
    with ExitStack() as his:
        for lock in base.glob("xget-*/*.lock"):
            fcntl.flock(his.enter_context(open(lock)), fcntl.LOCK_EX)
        _evade(base, shared)


def _evade(base: Path, shared: Path) -> None:
    with closing(listen("name", b"known") or pytest.fail("taken")) as listening:
        assert listen("name") is None
        assert notes("name") == [b"known"]
        with connect("name", PATIENCE) as sock, listening.sock.accept()[0] as accepted:
            accepted.sendall(b"x")
            assert sock.recv(1) == b"x"
    with closing(listen("other") or pytest.fail("taken")):
        (used,) = (path for path in base.glob(f"{shared.name}-*") if path.stat().st_uid == 0)
        assert used.stat().st_mode & 0o777 == 0o700, "the same directory serves all"


def test_a_process_is_found_in_each_directory_of_its_user(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cron has other directories than a login."""
    monkeypatch.setattr(runtime_directory, "ROOTS", f"{base}/not there/run")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with closing(listen("name") or pytest.fail("taken")):
        assert sockets(mine(base)[-1])
        runtime_directory.ROOTS = f"{base}/run"
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"{base}/user")
        (base / "user").mkdir()
        assert listen("name") is None
        with connect("name", PATIENCE):
            pass


@pytest.mark.root
def test_other_users_cannot_connect_but_may_read_what_a_process_notes(base: Path) -> None:
    base.chmod(0o755)
    with closing(listen("name", b"known") or pytest.fail("taken")):

        def look() -> None:
            with pytest.raises(PermissionError):
                connect("name", PATIENCE)
            assert notes("na") == [b"known"]

        as_nobody(look)


@pytest.mark.root
def test_root_finds_a_service_of_another_user_in_the_directory_that_it_has_made_for_it(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.chmod(0o755)
    directory = Path(runtime_directory.ROOTS, "master-images")
    directory.mkdir(parents=True)
    os.chown(directory, NOBODY, NOBODY)
    ready, end = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        monkeypatch.setenv("RUNTIME_DIRECTORY", f"/nowhere:{directory}")
        as_nobody(lambda: _serve_until_told(ready[1], end[0]))
        os._exit(0)
    try:
        assert os.read(ready[0], 1) == b"x"
        assert list(notes("name")) == [b"known"]
        with connect("name", PATIENCE) as sock:
            assert sock.recv(1) == b"y"
        directory.chmod(0o775)
        with pytest.raises(FileNotFoundError):
            connect("name", PATIENCE)
    finally:
        os.write(end[1], b"x")
        assert os.waitpid(pid, 0)[1] == 0


def _serve_until_told(ready: int, end: int) -> None:
    with closing(listen("name", b"known") or pytest.fail("taken")) as listening:
        os.write(ready, b"x")
        accepted, _ = listening.sock.accept()
        with accepted:
            accepted.sendall(b"y")
        os.read(end, 1)
